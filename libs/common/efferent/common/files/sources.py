"""Checks that the files which client events name are there, and that a model can be shown them."""

from collections.abc import Iterator, Sequence

from efferent.common.domain.commands import CustomToolResultDraft, EventDraft, MessageDraft, ToolResultDraft
from efferent.common.domain.content import DocumentBlock, ImageBlock
from efferent.common.domain.file_sources import SOURCES_MAX, check_file, file_of
from efferent.common.domain.ids import WorkspaceId, is_well_formed
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.files.store import FileStore


async def check_sources(
    files: FileStore, workspace_id: WorkspaceId, events: Sequence[EventDraft], list_name: str
) -> None:
    """Look every file up that the events name; ``list_name`` is what the request calls their list.

    Raises InvalidRequest and NotFound that name the place, LogUnavailable.
    """
    named = [
        (f"{list_name}[{index}]{at}", block, id)
        for index, event in enumerate(events)
        for at, block, id in _named(event)
    ]
    if not named:
        return
    for place, _, file_id in named:
        if not is_well_formed("file_", file_id):
            raise InvalidRequest(f"{place}.file_id: Invalid file ID.")
    wanted = list(dict.fromkeys(file_id for _, _, file_id in named))
    if len(wanted) > SOURCES_MAX:
        raise InvalidRequest(f"{list_name}: at most {SOURCES_MAX} different files are allowed")
    found = await files.look_up(workspace_id, wanted)
    for place, block, file_id in named:
        match found[file_id]:
            case NotFound() as refusal:
                raise NotFound(f"{place}.file_id: {refusal.message}", code=refusal.code)
            case file:
                try:
                    check_file(block, file)
                except InvalidRequest as refusal:
                    raise InvalidRequest(f"{place}.file_id: {refusal.message}") from refusal


def _named(event: EventDraft) -> Iterator[tuple[str, ImageBlock | DocumentBlock, str]]:
    """Place within the event, block and file, for each block whose content is a file."""
    if not isinstance(event, MessageDraft | CustomToolResultDraft | ToolResultDraft):
        return
    for index, block in enumerate(event.content):
        if isinstance(block, ImageBlock | DocumentBlock) and (source := file_of(block)) is not None:
            yield f".content[{index}].source", block, source.file_id
