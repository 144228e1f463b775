"""Fills messages with the files that they name, just before a model sees them. The log keeps the names only.

A file is looked up for every request, so one that was deleted is not shown again; its bytes are kept for a while, and a
filled message stays the same object as long as nothing changed, since adapters know messages by identity.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from efferent.common.domain.content import DocumentBlock, ImageBlock, TextBlock
from efferent.common.domain.context import Message, Part, ToolResult
from efferent.common.domain.file_sources import file_ids, file_of, filled, names_file
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.refusals import NotFound
from efferent.common.domain.resources.file import File
from efferent.common.files.store import FileStore

REQUEST_BYTES_MAX: Final = 20 * 1024 * 1024
"""Of all files in one request: as base64 they are 27 MiB, and providers take requests of 32 MB."""
REQUEST_FILES_MAX: Final = 200
"""Different files in one request; the newest are shown."""
KEPT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of files in the filled messages that are kept."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A filled message, and the files that it was filled with, by id."""

    files: tuple[str, ...]
    message: Message
    size_bytes: int


class FileShower:
    """Shows files to models."""

    def __init__(
        self, files: FileStore, *, request_bytes_max: int = REQUEST_BYTES_MAX, kept_bytes_max: int = KEPT_BYTES_MAX
    ) -> None:
        """``request_bytes_max``: of all files in one request. ``kept_bytes_max``: of files kept for later requests."""
        self._files = files
        self._request_bytes_max = request_bytes_max
        self._kept_bytes_max = kept_bytes_max
        self._kept: OrderedDict[Message, _Kept] = OrderedDict()
        self._kept_bytes = 0

    async def shown(self, workspace_id: WorkspaceId, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages as a model sees them. Raises LogUnavailable, BlobsUnavailable.

        Where a file is gone, or the files are too much for one request, a note takes its place; the newest are shown.
        """
        with_files = {index for index, message in enumerate(messages) if any(map(names_file, message.parts))}
        named = [id for index in sorted(with_files, reverse=True) for id in file_ids(messages[index].parts)]
        newest = list(dict.fromkeys(named))[:REQUEST_FILES_MAX]
        chosen = self._chosen(named, await self._files.look_up(workspace_id, newest))
        return tuple(
            [
                await self._filled(message, chosen) if index in with_files else message
                for index, message in enumerate(messages)
            ]
        )

    def _chosen(self, named: Sequence[str], found: Mapping[str, File | NotFound]) -> dict[str, File]:
        """The newest files that one request has room for; each is counted as often as it is named."""
        left_bytes, chosen = self._request_bytes_max, dict[str, File]()
        for file_id, times in Counter(named).items():
            file = found.get(file_id)
            if not isinstance(file, File):
                continue
            left_bytes -= file.size_bytes * times
            if left_bytes < 0:
                break
            chosen[file_id] = file
        return chosen

    async def _filled(self, message: Message, chosen: dict[str, File]) -> Message:
        wanted = {id: chosen[id] for id in file_ids(message.parts) if id in chosen}
        kept = self._kept.get(message)
        if kept is None or kept.files != tuple(wanted):
            data = {id: await self._read(file) for id, file in wanted.items()}
            parts = await asyncio.to_thread(_with_data, message.parts, wanted, data)
            kept = _Kept(tuple(wanted), Message(message.role, parts), sum(len(it or b"") for it in data.values()))
        self._keep(message, kept)
        return kept.message

    async def _read(self, file: File) -> bytes | None:
        try:
            return b"".join([chunk async for chunk in self._files.content(file)])
        except KeyError:  # deleted in this very moment
            return None

    def _keep(self, message: Message, kept: _Kept) -> None:
        before = self._kept.pop(message, None)
        self._kept_bytes += kept.size_bytes - (before.size_bytes if before is not None else 0)
        self._kept[message] = kept
        while self._kept_bytes > self._kept_bytes_max and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.size_bytes


def _with_data(parts: Sequence[Part], files: dict[str, File], data: dict[str, bytes | None]) -> tuple[Part, ...]:
    def one[P](part: P) -> P | TextBlock | ImageBlock | DocumentBlock:
        if not isinstance(part, ImageBlock | DocumentBlock) or (source := file_of(part)) is None:
            return part
        content = data.get(source.file_id)
        if content is None:
            why = "it was deleted, or the files are too much"
            return TextBlock(text=f"[the {part.type} {source.file_id} is not shown: {why}]")
        return filled(part, files[source.file_id], content)

    return tuple(
        replace(part, content=tuple(map(one, part.content))) if isinstance(part, ToolResult) else one(part)
        for part in parts
    )
