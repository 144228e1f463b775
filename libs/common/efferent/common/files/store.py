"""Files as sessions and routes use them: bytes first, then the record that names them; on deletion the other way round.

So a record never names bytes that are not there. Bytes that no record names, left by a crash in between, are swept.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.files import FILES
from efferent.common.domain import timestamp
from efferent.common.domain.control import file as files
from efferent.common.domain.control.file import FILE, CreateFile, DeleteFile, ExpireFile
from efferent.common.domain.ids import FileId, SessionId, WorkspaceId, from_seed, is_well_formed
from efferent.common.domain.refusals import InvalidRequest, NotFound, TooLarge
from efferent.common.domain.resources.file import File, content_key, session_files
from efferent.common.domain.timestamp import Timestamp
from efferent.common.files.media_types import extension_of, media_type_of
from efferent.common.ports import BlobDigest, BlobStore, Clock, IdSource

LOOKUPS_AT_ONCE: Final = 8
"""Files of one request that are looked up at the same time."""
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredBytes:
    """Bytes of an upload that no record names yet: make a file of them, or discard them."""

    id: FileId
    digest: BlobDigest


class FileStore:
    """The files of all workspaces."""

    def __init__(
        self, aggregates: Aggregates, blobs: BlobStore, clock: Clock, ids: IdSource, *, bytes_max: int = 500 * _MIB
    ) -> None:
        """``bytes_max``: the largest file."""
        self._aggregates = aggregates
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._bytes_max = bytes_max

    async def get(self, workspace_id: WorkspaceId, file_id: str) -> File:
        """A file that is there now. Raises NotFound (``file_expired`` when it was there once), LogUnavailable."""
        loaded = await self._aggregates.load(FILE, workspace_id, file_id)
        now = self._now()
        if loaded.data is None and loaded.sequence and await self._went_by_itself(workspace_id, file_id):
            raise files.expired(file_id)
        return files.existing(loaded.data, now)

    async def look_up(self, workspace_id: WorkspaceId, file_ids: Iterable[str]) -> dict[str, File | NotFound]:
        """What ``get`` says of each of several files: the file, or the refusal. Raises LogUnavailable."""
        turns = asyncio.Semaphore(LOOKUPS_AT_ONCE)

        async def one(file_id: str) -> File | NotFound:
            async with turns:
                try:
                    return await self.get(workspace_id, file_id)
                except NotFound as refusal:
                    return refusal

        wanted = list(dict.fromkeys(file_ids))
        return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))

    def content(self, file: File) -> AsyncGenerator[bytes]:
        """Its bytes, whoever asks: whether clients may have them is ``file.downloadable``. Raises BlobsUnavailable."""
        return self._blobs.get_stream(file.blob_key)

    async def receive(self, chunks: AsyncIterable[bytes]) -> StoredBytes:
        """Store the bytes of an upload. Raises TooLarge, BlobsUnavailable and what ``chunks`` raises."""
        file_id = self._new_id()
        digest = await self._blobs.put_stream(content_key(file_id, None), self._limited(chunks))
        return StoredBytes(file_id, digest)

    async def discard(self, stored: StoredBytes) -> None:
        """Delete bytes that become no file after all. Raises BlobsUnavailable."""
        await self._blobs.delete(f"{stored.id}/")

    async def upload(
        self,
        actor: Actor,
        stored: StoredBytes,
        *,
        filename: str | None,
        mime_type: str | None,
        expires_in_s: int | None = None,
    ) -> File:
        """Make a file of received bytes; they are discarded when it is refused. Raises InvalidRequest, LogUnavailable.

        ``filename`` and ``mime_type`` are as a client sent them.
        """
        try:
            media_type = files.usable_mime_type(mime_type)
            name = files.checked_filename(filename, extension=extension_of(media_type or ""))
            command = CreateFile(
                id=stored.id,
                filename=name,
                mime_type=media_type or media_type_of(name),
                size_bytes=stored.digest.size_bytes,
                sha256=stored.digest.sha256,
                expires_in_s=expires_in_s,
            )
            return await self._change(actor, stored.id, command)
        except InvalidRequest:
            await self.discard(stored)
            raise

    async def copy_for_session(
        self, actor: Actor, file_id: str, session_id: SessionId, *, copy_id: FileId | None = None
    ) -> File:
        """A session's own copy of a file, with an id of its own; it shares the bytes and goes with the session.

        With the same ``copy_id`` it is made once, however often it is asked for. Raises NotFound, LogUnavailable,
        BlobsUnavailable.
        """
        source = await self.get(actor.workspace_id, file_id)
        identifier = copy_id or self._new_id()
        try:
            await self._blobs.copy(source.blob_key, content_key(identifier, session_id))
        except KeyError as error:  # deleted in this very moment
            raise files.not_found() from error
        command = CreateFile(
            id=identifier,
            filename=source.filename,
            mime_type=source.mime_type,
            size_bytes=source.size_bytes,
            sha256=source.sha256,
            session_id=session_id,
            is_copy=True,
        )
        return await self._change(actor, identifier, command)

    async def add_output(
        self,
        actor: Actor,
        session_id: SessionId,
        filename: str,
        chunks: AsyncIterable[bytes],
        *,
        file_id: FileId | None = None,
    ) -> File:
        """A file that the session's agent made; clients may download it. Of a path only the last name is kept,
        and what a filename may not have is replaced.

        With the same ``file_id`` it is made once, also when it was deleted since. Raises TooLarge, NotFound when it was
        deleted, LogUnavailable, BlobsUnavailable and what ``chunks`` raises.
        """
        identifier = file_id or self._new_id()
        if file_id is not None:
            made = await self._aggregates.load(FILE, actor.workspace_id, file_id)
            if made.sequence:
                return files.existing(made.data, self._now())
        name = files.usable_filename(filename)
        digest = await self._blobs.put_stream(content_key(identifier, session_id), self._limited(chunks))
        command = CreateFile(
            id=identifier,
            filename=name,
            mime_type=media_type_of(name),
            size_bytes=digest.size_bytes,
            sha256=digest.sha256,
            session_id=session_id,
        )
        return await self._change(actor, identifier, command)

    async def delete(self, actor: Actor, file_id: str) -> File:
        """Remove a file and its bytes; sessions keep their copies. Raises NotFound, LogUnavailable."""
        await self.get(actor.workspace_id, file_id)  # says when it has expired
        file = await self._change(actor, file_id, DeleteFile())
        await self._blobs.delete(file.blob_prefix)
        return file

    async def expire(self, workspace_id: WorkspaceId, file_id: str) -> bool:
        """Remove a file if its time is over, and tell whether it was. Raises LogUnavailable, BlobsUnavailable."""
        loaded = await self._aggregates.load(FILE, workspace_id, file_id)
        if loaded.data is None or not files.has_expired(loaded.data, self._now()):
            return False
        file = await self._change(Actor(workspace_id), file_id, ExpireFile())
        await self._blobs.delete(file.blob_prefix)
        return True

    async def delete_of_session(self, workspace_id: WorkspaceId, session_id: SessionId) -> None:
        """Remove all files of a session. Safe to repeat. Raises LogUnavailable, BlobsUnavailable.

        Every record of a session's file has its bytes under the session's prefix, so they say which files there are.
        """
        async for file_id in self._of_session(session_id):
            try:
                await self._change(Actor(workspace_id), file_id, DeleteFile())
            except NotFound:
                continue
        await self._blobs.delete(session_files(session_id))

    async def _of_session(self, session_id: SessionId) -> AsyncIterator[str]:
        prefix = session_files(session_id)
        async for entry in self._blobs.entries(prefix):
            if is_well_formed("file_", file_id := entry.key.removeprefix(prefix).partition("/")[0]):
                yield file_id

    async def _went_by_itself(self, workspace_id: WorkspaceId, file_id: str) -> bool:
        """Whether a file that is gone has expired, rather than been deleted."""
        async for record in self._aggregates.history(FILE, workspace_id, file_id):
            if FILE.is_deleted(record):
                return files.has_expired(record.data, record.at)
        return False

    async def _limited(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for chunk in chunks:
            size_bytes += len(chunk)
            if size_bytes > self._bytes_max:
                raise TooLarge(f"file: larger than {self._bytes_max} bytes")
            yield chunk

    async def _change(self, actor: Actor, file_id: str, command: files.FileCommand) -> File:
        return await FILES.change(self._aggregates, actor, file_id, command)

    def _new_id(self) -> FileId:
        return FileId(from_seed("file_", self._ids.seed()))

    def _now(self) -> Timestamp:
        return timestamp.from_epoch_us(self._clock.now_us())
