"""Placements and collected things as they travel to and from the hands."""

from efferent.brain.placements import Collected, MemoryChange, Output, Placement, StorePlace
from efferent.common.domain.ids import SessionId
from efferent.common.hands_api import sandbox_pb2 as wire


def prepare_request(session_id: SessionId, placement: Placement) -> wire.PrepareRequest:
    """Ask for a placement."""
    return wire.PrepareRequest(
        session_id=session_id,
        placement=placement.name,
        files=[
            wire.PlacedFile(path=file.path, blob_key=file.blob_key, size_bytes=file.size_bytes)
            for file in placement.files
        ],
        skills=[wire.PlacedSkill(name=skill.name, blob_key=skill.blob_key) for skill in placement.skills],
        stores=[_store(store) for store in placement.stores],
    )


def collected(answer: wire.CollectResponse) -> Collected:
    """What was found."""
    return Collected(
        outputs=tuple(Output(it.path, it.stamp, it.size_bytes) for it in answer.outputs),
        memories=tuple(_change(it) for it in answer.memories),
        is_all=not answer.more,
    )


def output_message(output: Output) -> wire.Output:
    """An output as the hands named it."""
    return wire.Output(path=output.path, stamp=output.stamp, size_bytes=output.size_bytes)


def _store(store: StorePlace) -> wire.PlacedStore:
    memories = [
        wire.PlacedMemory(path=it.path, blob_key=it.blob_key, content_sha256=it.content_sha256) for it in store.memories
    ]
    return wire.PlacedStore(path=store.path, read_only=store.is_read_only, memories=memories)


def _change(change: wire.MemoryChange) -> MemoryChange:
    return MemoryChange(
        store_path=change.store_path,
        path=change.path,
        base_sha256=change.base_sha256 or None,
        content=change.written if change.HasField("written") else None,
    )
