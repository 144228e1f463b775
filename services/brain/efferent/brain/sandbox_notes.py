"""What a model is told of the sandbox that it works with: folders, skills, memory stores, files. Pure."""

from collections.abc import Iterator
from typing import Final

from efferent.common.domain.mount_paths import SKILLS, UPLOADS
from efferent.common.domain.permissions import builtin_tools
from efferent.common.domain.resources.session_resource import FileResource, MemoryStoreResource
from efferent.common.domain.state import SessionState

FILES_NAMED_MAX: Final = 50
"""Files that are named one by one."""

_SANDBOX_NOTE: Final = (
    "You work in a sandbox. Your working directory is /workspace. "
    "Files that the user should receive belong in /mnt/session/outputs."
)


def sandbox_notes(state: SessionState) -> str:
    """Everything that there is to say; empty for an agent without sandbox tools."""
    if not builtin_tools(state.agent):
        return ""
    return "\n\n".join(_notes(state))


def _notes(state: SessionState) -> Iterator[str]:
    is_ours = state.environment_config.type != "self_hosted"
    if is_ours:
        yield _SANDBOX_NOTE
    if is_ours and (files := [it.resource for it in state.resources if isinstance(it.resource, FileResource)]):
        yield _files_note(files)
    if state.skills:
        yield _skills_note(state)
    for held in state.resources:
        if isinstance(held.resource, MemoryStoreResource):
            yield _memory_note(held.resource)


def _files_note(files: list[FileResource]) -> str:
    if len(files) > FILES_NAMED_MAX:
        return f"The user has given you {len(files)} files, below {UPLOADS}. They can only be read."
    paths = "\n".join(f"- {file.mount_path}" for file in files)
    return f"The user has given you these files, which can only be read:\n{paths}"


def _skills_note(state: SessionState) -> str:
    skills = "\n".join(f"- {skill.name} ({SKILLS}/{skill.name}): {skill.description}" for skill in state.skills)
    return (
        "You have these skills. When one fits the task, read its SKILL.md first and follow it; the other files of its "
        f"folder are there when it mentions them.\n{skills}"
    )


def _memory_note(store: MemoryStoreResource) -> str:
    access = "can be read and written" if store.access == "read_write" else "can only be read"
    lines = [f'The memory store "{store.name}" is the folder {store.mount_path}. It {access}.']
    if store.description:
        lines.append(f"Description: {store.description}")
    if store.instructions:
        lines.append(f"Instructions: {store.instructions}")
    if store.access == "read_write":
        lines.append("What you write there is kept beyond this session.")
    return "\n".join(lines)
