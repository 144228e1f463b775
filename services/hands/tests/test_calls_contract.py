"""Calls by their ids, cancelling and releasing, the same with both backends."""

import asyncio
import secrets
from pathlib import Path

import grpc
import grpc.aio
import pytest

from efferent.hands.adapters.launched_sandbox import LaunchedSandbox
from efferent.hands.results import INTERRUPTED_TEXT
from services.hands.tests.hands_client import SESSION, Client, Running, Start, until

COUNT = "echo x >> count; cat count | wc -l"


async def test_call_that_is_asked_for_again_gives_the_same_result_and_runs_once(client: Client) -> None:
    first = await client.execute("bash", {"command": COUNT}, call="sevt_a")
    again = await client.execute("bash", {"command": COUNT}, call="sevt_a")
    assert first.ok().strip() == again.ok().strip() == "1"
    assert (await client.execute("bash", {"command": COUNT}, call="sevt_b")).ok().strip() == "2"


async def test_asking_while_the_call_runs_attaches_to_it(client: Client) -> None:
    slow = {"command": "echo x >> count; while [ ! -e go ]; do sleep 0.02; done; wc -l < count"}
    seen = asyncio.Event()
    asked = [asyncio.create_task(client.execute("bash", {**slow}, call="sevt_a")) for _ in range(3)]
    while (await client.execute("glob", {"pattern": "count"})).ok() != "count":
        pass
    asked.append(asyncio.create_task(client.execute("bash", {**slow}, call="sevt_a", on_output=lambda _: seen.set())))
    await client.execute("write", {"file_path": "go", "content": ""})
    assert [outcome.ok().strip() for outcome in await asyncio.gather(*asked)] == ["1"] * 4


async def test_caller_that_goes_away_does_not_stop_the_call(client: Client) -> None:
    slow = {"command": "echo x >> count; while [ ! -e go ]; do sleep 0.02; done; wc -l < count"}
    asked = asyncio.create_task(client.execute("bash", {**slow}, call="sevt_a"))
    while (await client.execute("glob", {"pattern": "count"})).ok() != "count":
        pass
    asked.cancel()
    await asyncio.wait([asked])
    await client.execute("write", {"file_path": "go", "content": ""})
    assert (await client.execute("bash", {**slow}, call="sevt_a")).ok().strip() == "1"


async def test_cancelled_call_ends_with_its_children_and_stays_cancelled(client: Client) -> None:
    slow = {"command": "echo x > begun; sleep 60; echo x > after"}
    asked = asyncio.create_task(client.execute("bash", {**slow}, call="sevt_a"))
    while (await client.execute("glob", {"pattern": "begun"})).ok() != "begun":
        pass
    await client.cancel("sevt_a")
    assert (await asked).error() == INTERRUPTED_TEXT
    assert (await client.execute("bash", {**slow}, call="sevt_a")).error() == INTERRUPTED_TEXT
    assert "after" not in (await client.bash("ls")).ok()


async def test_cancelling_what_does_not_run_is_harmless(client: Client) -> None:
    await client.cancel("sevt_unknown")
    await client.execute("bash", {"command": "echo a"}, call="sevt_a")
    await client.cancel("sevt_a")
    assert (await client.execute("bash", {"command": "echo b"}, call="sevt_a")).ok() == "a"


async def test_file_tool_can_be_cancelled(client: Client) -> None:
    await client.execute("write", {"file_path": "trap", "content": "a" * 60 + "!"})
    asked = asyncio.create_task(client.execute("grep", {"pattern": "(a+)+$"}, call="sevt_a"))
    await client.bash("true")
    while not asked.done():
        await client.cancel("sevt_a")
    assert (await asked).error() == INTERRUPTED_TEXT


async def test_release_ends_every_process_and_deletes_every_file(hands: Running) -> None:
    mark = f"efferent_{secrets.token_hex(8)}"
    await hands.client.bash(
        f"(exec -a {mark} sleep 300) & (setsid -f bash -c 'exec -a {mark} sleep 300'); mkdir locked; touch locked/x;"
        "chmod 000 locked; : > /mnt/session/outputs/o || true"
    )
    await until(lambda: processes_named(mark) == 2)
    running = asyncio.create_task(hands.client.bash("echo begun > begun; sleep 60"))
    while (await hands.client.execute("glob", {"pattern": "begun"})).ok() != "begun":
        pass
    await hands.client.release()
    assert processes_named(mark) == 0
    assert (await running).error() == INTERRUPTED_TEXT
    assert list((hands.folder / "hands" / "sessions").iterdir()) == []
    await hands.client.release()
    assert (await hands.client.bash("ls | wc -l")).ok().strip() == "0"


async def test_released_session_forgets_its_calls(client: Client) -> None:
    await client.execute("bash", {"command": "echo old"}, call="sevt_a")
    await client.release()
    assert (await client.execute("bash", {"command": "echo new"}, call="sevt_a")).ok() == "new"


async def test_too_many_calls_at_once_are_refused(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, calls_max=2)
    blocked = [asyncio.create_task(hands.client.bash("sleep 60")) for _ in range(2)]
    await until(lambda: running_calls(hands) == 2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await hands.client.bash("true")
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await hands.client.release()
    await asyncio.gather(*blocked)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "a.b", "x" * 101])
async def test_ids_that_cannot_be_names_of_files_are_refused(start_hands: Start, name: str) -> None:
    hands = await start_hands(backend="process")
    for session, call in ((name, "sevt_a"), (SESSION, name or " ")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await hands.client.execute("bash", {"command": "true"}, session=session, call=call)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_drain_interrupts_what_does_not_end_and_refuses_what_is_new(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, drain_s=0.1)
    asked = asyncio.create_task(hands.client.bash("echo x > begun; sleep 60"))
    while (await hands.client.execute("glob", {"pattern": "begun"})).ok() != "begun":
        pass
    await hands.service.drain()
    assert (await asked).error() == INTERRUPTED_TEXT
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await hands.client.bash("true")
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_idle_sandbox_is_ended_and_its_workspace_kept(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, idle_s=0.2)
    await hands.client.bash("echo kept > file; X=1")
    await until(lambda: live_sandboxes(hands) == 0)
    outcome = await hands.client.bash("cat file; echo x$X")
    assert outcome.ok().splitlines()[1:] == ["kept", "x"]
    assert "the sandbox was ended" in outcome.text


async def test_room_is_made_by_the_longest_idle_sandbox(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, sandboxes_max=2, sandbox_wait_s=0.3)
    for session in ("sesn_a", "sesn_b", "sesn_c"):
        await hands.client.bash("echo kept > file", session=session)
    assert live_sandboxes(hands) == 2
    assert (await hands.client.bash("cat file", session="sesn_a")).ok().endswith("kept")
    blocked = [asyncio.create_task(hands.client.bash("sleep 60", session=session)) for session in ("sesn_a", "sesn_b")]
    await until(lambda: busy_sandboxes(hands) == 2)
    assert "busy" in (await hands.client.bash("true", session="sesn_c")).error()
    for session in ("sesn_a", "sesn_b"):
        await hands.client.release(session)
    await asyncio.gather(*blocked)


async def test_a_sandbox_that_takes_long_to_end_makes_room_all_the_same(
    start_hands: Start, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = await start_hands(backend=backend, sandboxes_max=1, sandbox_wait_s=0.05)
    really = LaunchedSandbox.kill

    async def slowly(sandbox: LaunchedSandbox) -> None:
        await asyncio.sleep(0.2)
        await really(sandbox)

    monkeypatch.setattr(LaunchedSandbox, "kill", slowly)
    for session in ("sesn_a", "sesn_b"):
        assert (await hands.client.bash("echo ran", session=session)).ok() == "ran"


async def test_second_start_on_a_folder_finds_workspace_and_results(
    start_hands: Start, backend: str, tmp_path: Path
) -> None:
    first = await start_hands(backend=backend)
    await first.client.execute("bash", {"command": "echo kept > file; echo result"}, call="sevt_a")
    await first.service.stop()
    second = await start_hands(backend=backend)
    assert (await second.client.execute("bash", {"command": "echo other"}, call="sevt_a")).ok() == "result"
    assert "the hands were restarted" in (await second.client.bash("cat file")).ok()


def processes_named(mark: str) -> int:
    """Processes of the whole machine whose command line begins with the mark."""
    count = 0
    for entry in Path("/proc").iterdir():
        try:
            count += entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(mark.encode())
        except OSError:
            continue
    return count


def running_calls(hands: Running) -> int:
    session = hands.service._sessions.find(SESSION)
    return session.running if session else 0


def live_sandboxes(hands: Running) -> int:
    return hands.service._pool.live


def busy_sandboxes(hands: Running) -> int:
    return sum(slot.users > 0 and slot.sandbox is not None for slot in hands.service._pool._slots.values())
