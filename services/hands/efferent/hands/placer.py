"""Places what a session is to find in its sandbox: bytes from the blob store into the session's folder."""

import asyncio
import contextlib
import logging
import os
import shutil
from pathlib import Path
from typing import Final

from efferent.common.ports import BlobStore
from efferent.hands import trees
from efferent.hands.archives import BadArchive, remove, unpack
from efferent.hands.folder import SessionFolder
from efferent.hands.placement import (
    PlacedFile,
    PlacedMemory,
    PlacedStore,
    Placement,
    Recorded,
    RecordedMemory,
    RecordedStore,
    Told,
    record,
    recorded,
    tell,
    told,
)

MEMORY_BYTES_MAX: Final = 102_400
"""Of one memory."""
FETCHES_AT_ONCE: Final = 8

_log = logging.getLogger(__name__)


class TooMuch(Exception):
    """The files are more than a session may have; the message says how much."""


class Placer:
    """Places things in one session's folder; one placement at a time."""

    def __init__(self, session_id: str, folder: SessionFolder, blobs: BlobStore, bytes_max: int) -> None:
        """``bytes_max``: of all files of the session together."""
        self._session_id = session_id
        self._folder = folder
        self._blobs = blobs
        self._bytes_max = bytes_max
        self._turn = asyncio.Lock()
        self._placed: Recorded | None = None

    async def name(self) -> str:
        """Name of what is placed; empty when nothing ever was. Raises OSError."""
        return (await self._known()).name

    async def place(self, wanted: Placement) -> None:
        """Make exactly this placed. Raises TooMuch, and OSError when bytes cannot be fetched or written."""
        if sum(file.size_bytes for file in wanted.files) > self._bytes_max:
            raise TooMuch(f"the session's files are larger than {self._bytes_max} bytes together")
        async with self._turn:
            before = await self._known()
            await asyncio.to_thread(self._make_folders, wanted)
            files = await self._place_files(before, wanted)
            skills = await self._place_skills(before, wanted)
            stores = await self._place_stores(before, wanted)
            after = Recorded(wanted.name, files, skills, tuple(stores))
            await asyncio.to_thread(record, self._folder, after)
            self._placed = after

    async def recorded(self) -> Recorded:
        """What is placed. Raises OSError."""
        return await self._known()

    async def _known(self) -> Recorded:
        if self._placed is None:
            self._placed = await asyncio.to_thread(recorded, self._folder)
        return self._placed

    def _make_folders(self, wanted: Placement) -> None:
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(mode=0o700)
        if wanted.skills:
            self._folder.part("skills").mkdir(mode=0o755, exist_ok=True)
            # The place that they are mounted on. Before the first sandbox nobody else writes there.
            self._made_for_sandbox(self._folder.part("workspace") / "skills")
        for store in wanted.stores:
            self._folder.part("memory").mkdir(mode=0o755, exist_ok=True)
            self._made_for_sandbox(self._folder.part("memory") / store.slug)

    def _made_for_sandbox(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o755)
            if self._folder.uid is not None:
                os.chown(path, self._folder.uid, self._folder.uid)

    # --- files ------------------------------------------------------------------------------------------------------

    async def _place_files(self, before: Recorded, wanted: Placement) -> dict[str, str]:
        keys = {file.path: file.blob_key for file in wanted.files}
        root = self._folder.part("uploads")
        gone = [path for path, key in before.files.items() if keys.get(path) != key]
        for path in gone:
            await asyncio.to_thread(trees.delete, root, path)
        turns = asyncio.Semaphore(FETCHES_AT_ONCE)

        async def place(number: int, file: PlacedFile) -> tuple[str, str] | None:
            async with turns:
                draft = self._incoming / str(number)
                if not await self._fetch(file.blob_key, draft):
                    return None
                await asyncio.to_thread(_move_upload, draft, root / file.path)
                return file.path, file.blob_key

        new = [file for file in wanted.files if before.files.get(file.path) != file.blob_key]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(place(number, file)) for number, file in enumerate(new)]
        kept = {path: key for path, key in before.files.items() if keys.get(path) == key}
        return {**kept, **dict(made for task in tasks if (made := task.result()) is not None)}

    # --- skills -----------------------------------------------------------------------------------------------------

    async def _place_skills(self, before: Recorded, wanted: Placement) -> dict[str, str]:
        placed: dict[str, str] = {}
        for number, skill in enumerate(wanted.skills):
            placed[skill.name] = skill.blob_key
            if before.skills.get(skill.name) == skill.blob_key:
                continue
            archive, unpacked = self._incoming / f"{number}.zip", self._incoming / f"{number}.skill"
            try:
                if not await self._fetch(skill.blob_key, archive):
                    continue
                await asyncio.to_thread(unpack, archive, unpacked)
                await asyncio.to_thread(_replace_folder, unpacked, self._folder.part("skills") / skill.name)
            except BadArchive as error:
                # A broken skill does not keep the session from working.
                _log.warning("a skill cannot be unpacked: %s", error, extra={"session_id": self._session_id})
        return placed

    # --- memory -----------------------------------------------------------------------------------------------------

    async def _place_stores(self, before: Recorded, wanted: Placement) -> list[RecordedStore]:
        collected = await asyncio.to_thread(told, self._folder) if wanted.stores else {}
        count = sum(map(len, collected.values()))
        stores = [
            await self._place_store(before.store(store.slug), store, collected.get(store.slug, {}))
            for store in wanted.stores
        ]
        if sum(map(len, collected.values())) != count:
            await asyncio.to_thread(tell, self._folder, collected)
        return stores

    async def _place_store(
        self, before: RecordedStore | None, store: PlacedStore, collected: dict[str, Told]
    ) -> RecordedStore:
        """Bring a store's folder up to date. Where others changed the store it wins; what the agent changed stays.

        What was ``collected`` and is in the store now is the agent's own: it may have gone on from there. Entries are
        taken out as they are used.
        """
        root = self._folder.part("memory") / store.slug
        known = before.memories if before is not None else {}
        wanted = {memory.path: memory for memory in store.memories}
        for path in known.keys() - wanted.keys():
            own = collected.pop(path, None)
            if own is None or own.sha256:
                await asyncio.to_thread(trees.delete, root, path)
        memories: dict[str, RecordedMemory] = {}
        for path, memory in wanted.items():
            there = known.get(path)
            if there is None or there.sha256 != memory.sha256:
                own = collected.pop(path, None)
                if own is not None and own.sha256 == memory.sha256:
                    there = RecordedMemory(own.sha256, own.stamp)
                else:
                    there = await self._place_memory(root, memory)
            if there is not None:
                memories[path] = there
        return RecordedStore(store.slug, store.is_read_only, memories)

    async def _place_memory(self, root: Path, memory: PlacedMemory) -> RecordedMemory | None:
        try:
            data = await self._blobs.get(memory.blob_key)
        except KeyError:
            return None  # deleted meanwhile
        try:
            stamp = await asyncio.to_thread(trees.write, root, memory.path, data, self._folder.uid)
        except OSError as error:
            # The agent has put something of its own in the way.
            _log.warning("a memory cannot be placed: %s", error, extra={"session_id": self._session_id})
            return None
        return RecordedMemory(memory.sha256, stamp)

    # --- bytes ------------------------------------------------------------------------------------------------------

    @property
    def _incoming(self) -> Path:
        return self._folder.path / "incoming"

    async def _fetch(self, key: str, target: Path) -> bool:
        """Copy a blob into a file; False when it is gone. Raises OSError."""
        with await asyncio.to_thread(target.open, "xb") as file:
            try:
                async for chunk in self._blobs.get_stream(key):
                    await asyncio.to_thread(file.write, chunk)
            except KeyError:
                _log.warning("a blob is gone", extra={"session_id": self._session_id, "key": key})
                return False
        return True


def _move_upload(draft: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft.chmod(0o444)
    draft.rename(target)


def _replace_folder(source: Path, target: Path) -> None:
    remove(target)
    source.rename(target)
