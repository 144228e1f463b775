"""Run as a program: become an unprivileged user, then start hands there and report what their limits did.

Python itself may lie below a folder that only root can enter; in a mount namespace of its own, it is made reachable.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import grpc.aio

from efferent.common.hands_api import sandbox_pb2 as wire
from efferent.common.hands_api.sandbox_pb2_grpc import SandboxesStub
from efferent.hands.app import build
from efferent.hands.launcher import linux
from efferent.hands.settings import HandsSettings

UID = 61_234
MIB = 1024 * 1024
COMMANDS = {
    "identity": "id -u; cat /proc/self/uid_map",
    "processes": "for i in $(seq 60); do sleep 60 & done",
    "memory of one": "head -c 500M /dev/zero | tail -c 400M | wc -c",
    "memory of many": "for i in 1 2 3 4; do (head -c 60M /dev/zero | tail -c 50M | (sleep 20; wc -c)) & done; wait",
    "disk": "for i in $(seq 1000); do head -c 5M /dev/zero > f$i; sleep 0.02; done",
}


def become_unprivileged() -> None:
    """Give up being root, but for reading this program."""
    linux.own_mounts()
    needed = [Path(sys.base_prefix), Path(__file__).parents[3]]
    sources = [(path, os.open(path, os.O_PATH)) for path in needed if _closed_ancestor(path)]
    for path, _ in sources:
        if ancestor := _closed_ancestor(path):
            linux.mount_tmpfs(str(ancestor))
    for path, descriptor in sources:
        path.mkdir(parents=True, exist_ok=True)
        linux.bind(f"/proc/self/fd/{descriptor}", str(path))
        os.close(descriptor)
    linux.become(UID)


def _closed_ancestor(path: Path) -> Path | None:
    """The topmost folder above the path that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


async def report(folder: Path) -> dict[str, str]:
    """Run every command in a session of its own; the texts of the results."""
    settings = HandsSettings(
        data_dir=folder,
        listen="127.0.0.1:0",
        processes_max=30,
        memory_bytes_max=100 * MIB,
        disk_bytes_max=30 * MIB,
        watch_every_s=0.1,
    )
    hands = build(settings)
    await hands.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{hands.port}") as channel:
        stub = SandboxesStub(channel)
        texts: dict[str, str] = {"check": (await stub.Check(wire.CheckRequest())).reason}
        for at, (name, command) in enumerate(COMMANDS.items()):
            # Processes are tried again until the time is over; the others end by themselves or by their limit.
            asked = json.dumps({"command": command, "timeout_ms": 4_000 if name == "processes" else 18_000})
            request = wire.ExecuteRequest(session_id=f"sesn_{at}", call_id="sevt_a", tool="bash", input_json=asked)
            async for event in stub.Execute(request):
                if event.HasField("result"):
                    texts[name] = json.loads(event.result.content_json)[0]["text"]
    await hands.stop()
    return texts


if __name__ == "__main__":
    if os.geteuid() == 0:
        become_unprivileged()
    print(json.dumps(asyncio.run(report(Path(sys.argv[1])))))
