"""Every limit of a sandbox is reached, and the host and the session survive it."""

import asyncio

import pytest
from pydantic import JsonValue

from services.hands.tests.hands_client import Start, until

MIB = 1024 * 1024


async def test_fork_bomb_is_bounded(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, processes_max=40)
    await hands.client.bash("bomb() { bomb | bomb & bomb; }; bomb", timeout_ms=1500)
    assert (await hands.client.bash("echo alive")).ok().endswith("alive")


async def test_processes_over_the_limit_are_refused(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, processes_max=20)
    said, refused = bytearray(), asyncio.Event()

    def hear(data: bytes) -> None:
        said.extend(data)
        if b"Resource temporarily unavailable" in said:
            refused.set()

    many: dict[str, JsonValue] = {"command": "for i in $(seq 60); do sleep 60 & done"}
    forking = asyncio.create_task(hands.client.execute("bash", many, call="sevt_many", on_output=hear))
    await asyncio.wait_for(refused.wait(), 30)
    await hands.client.cancel("sevt_many")
    assert (await forking).is_error
    assert (await hands.client.bash("echo alive")).ok().endswith("alive")


async def test_memory_over_the_limit_is_not_given(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, memory_bytes_max=64 * MIB)
    outcome = await hands.client.bash("head -c 500M /dev/zero | tail -c 400M | wc -c", timeout_ms=20_000)
    assert "419430400" not in outcome.text
    assert (await hands.client.bash("echo alive")).ok().endswith("alive")


async def test_model_is_told_that_memory_was_short(start_hands: Start) -> None:
    hands = await start_hands(memory_bytes_max=64 * MIB)
    outcome = await hands.client.bash("x=$(head -c 300M /dev/zero | tr '\\0' x); echo ${#x}", timeout_ms=20_000)
    assert "67108864 bytes of memory" in outcome.error()


async def test_disk_hog_is_stopped_and_the_session_can_clean_up(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, disk_bytes_max=30 * MIB, watch_every_s=0.1)
    hog = "for i in $(seq 1000); do head -c 5M /dev/zero > f$i; sleep 0.02; done"
    outcome = await hands.client.bash(hog, timeout_ms=30_000)
    assert "disk limit is reached" in outcome.error()
    refused = await hands.client.execute("write", {"file_path": "more", "content": "x" * MIB})
    assert "disk limit is reached" in refused.error()
    assert not (await hands.client.bash("rm -f f*; sleep 0.3; echo cleaned")).is_error
    (await hands.client.execute("write", {"file_path": "more", "content": "x" * MIB})).ok()


async def test_one_file_cannot_be_larger_than_the_disk_limit(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, disk_bytes_max=10 * MIB)
    outcome = await hands.client.bash("head -c 50M /dev/zero > big; stat -c %s big")
    assert "10485760" in outcome.text


async def test_files_without_end_are_stopped(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, files_max=300, watch_every_s=0.1)
    outcome = await hands.client.bash(
        "i=0; while :; do i=$((i+1)); : > f$i; [ $((i % 50)) = 0 ] && sleep 0.02; done", timeout_ms=30_000
    )
    assert "of 300 files" in outcome.error()


async def test_files_cannot_be_hidden_from_counting(start_hands: Start) -> None:
    hands = await start_hands(disk_bytes_max=20 * MIB, watch_every_s=0.1)
    outcome = await hands.client.bash(
        "mkdir d; for i in $(seq 100); do chmod 700 d; head -c 5M /dev/zero > d/$i; chmod 000 d; sleep 0.05; done",
        timeout_ms=30_000,
    )
    assert "disk limit is reached" in outcome.error()


async def test_nesting_does_not_hide_files_from_counting(start_hands: Start) -> None:
    hands = await start_hands(disk_bytes_max=20 * MIB, watch_every_s=0.1)
    name = "d" * 200
    outcome = await hands.client.bash(
        f"for i in $(seq 30); do mkdir {name} && cd {name}; done; for i in $(seq 100); do"
        " head -c 5M /dev/zero > f$i; sleep 0.05; done",
        timeout_ms=30_000,
    )
    assert "disk limit is reached" in outcome.error()


async def test_temporary_folder_and_shared_memory_are_bounded(start_hands: Start) -> None:
    hands = await start_hands(tmp_bytes_max=2 * MIB)
    assert "No space left" in (await hands.client.bash("head -c 5M /dev/zero > /tmp/x")).error()
    assert "No space left" in (await hands.client.bash("head -c 70M /dev/zero > /dev/shm/x")).error()


async def test_open_files_are_bounded(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, open_files_max=64)
    outcome = await hands.client.bash('for i in $(seq 10 90); do eval "exec $i</dev/null" || break; done; echo end')
    assert "Too many open files" in outcome.text or "Bad file descriptor" in outcome.text


@pytest.mark.parametrize("command", ["yes", "while :; do echo line; done"])
async def test_endless_output_ends_with_the_time(start_hands: Start, backend: str, command: str) -> None:
    hands = await start_hands(backend=backend, output_bytes_max=100_000)
    outcome = await hands.client.bash(command, timeout_ms=500)
    assert "longer than 0.5 s" in outcome.error()
    assert len(outcome.text) < 101_000


async def test_background_disk_hog_is_ended_between_calls(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, disk_bytes_max=10 * MIB, idle_s=1.0)
    await hands.client.bash(
        "(for i in $(seq 1000); do head -c 1M /dev/zero > f$i; sleep 0.01; done) > /dev/null 2>&1 &"
    )
    await until(lambda: hands.service._pool.live == 0, within_s=20)
    assert not (await hands.client.bash("rm -f f*")).is_error
