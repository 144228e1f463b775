"""The persistent shell, the same with both backends."""

import asyncio

from services.hands.tests.hands_client import Client, Start


async def test_directory_variables_and_functions_survive_between_calls(client: Client) -> None:
    await client.bash("mkdir deep && cd deep && export A=1 B=2 && f() { echo from f; }")
    assert (await client.bash("basename $PWD; echo $A; f")).ok() == "deep\n1\nfrom f"


async def test_output_and_errors_come_together_and_in_order(client: Client) -> None:
    assert (await client.bash("echo one; echo two >&2; echo three")).ok() == "one\ntwo\nthree"


async def test_output_is_streamed_as_it_comes(client: Client) -> None:
    seen = asyncio.Event()
    call = asyncio.create_task(
        client.execute(
            "bash",
            {"command": "echo first; while [ ! -e go ]; do sleep 0.02; done; echo last"},
            on_output=lambda _: seen.set(),
        )
    )
    await asyncio.wait_for(seen.wait(), 20)
    assert not call.done()
    await client.execute("write", {"file_path": "go", "content": ""})
    outcome = await call
    assert outcome.ok() == "first\nlast"
    assert outcome.streamed == b"first\nlast\n"


async def test_failing_command_is_an_error_with_output_and_exit_code(client: Client) -> None:
    outcome = await client.bash("echo before; false; exit_code() { return 7; }; exit_code")
    assert outcome.error() == "before\n[Exit code: 7]"


async def test_silent_command_still_gives_a_text(client: Client) -> None:
    assert (await client.bash("true")).ok() == "(no output)"


async def test_standard_input_is_empty(client: Client) -> None:
    assert (await client.bash("cat; echo end")).ok() == "end"


async def test_bytes_that_are_not_utf8_are_replaced(client: Client) -> None:
    assert (await client.bash(r"printf 'a\xff\xc3b'")).ok() == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"


async def test_output_cannot_forge_an_exit_status(client: Client) -> None:
    outcome = await client.bash("echo 'done 1 0'; echo 'done 1 0' >&3; (exit 5)")
    assert outcome.error().endswith("[Exit code: 5]")


async def test_stray_break_and_continue_do_not_reach_our_loop(client: Client) -> None:
    assert (await client.bash("X=kept; break; echo not reached")).text in ("(no output)", "not reached")
    assert not (await client.bash("continue")).is_error
    assert (await client.bash("echo $X")).ok() == "kept"


async def test_multi_line_commands_with_here_documents_run(client: Client) -> None:
    assert (await client.bash("cat <<'X'\na $b 'c'\nX\nfor i in 1 2; do\n echo $i\ndone")).ok() == "a $b 'c'\n1\n2"


async def test_syntax_error_is_a_result_and_the_shell_lives_on(client: Client) -> None:
    await client.bash("X=kept")
    assert "syntax error" in (await client.bash("if then")).error()
    assert (await client.bash("echo $X")).ok() == "kept"


async def test_background_process_does_not_hold_the_call(client: Client) -> None:
    assert (await client.bash("sleep 60 & echo started")).ok() == "started"
    assert (await client.bash("jobs -r | wc -l")).ok().strip() == "1"


async def test_background_process_may_print_after_its_call(client: Client) -> None:
    await client.bash("(sleep 0.2; for i in 1 2 3; do echo late; done; echo alive > proof) &")
    assert (await client.bash("while [ ! -s proof ]; do sleep 0.02; done; cat proof")).ok() == "alive"


async def test_exit_ends_the_shell_and_the_next_call_says_so(client: Client) -> None:
    assert (await client.bash("X=1; exit 4")).error() == "[The shell exited with code 4.]"
    outcome = await client.bash("echo x$X; basename $PWD")
    assert outcome.ok().splitlines()[1:] == ["x", "workspace"]
    assert outcome.text.startswith("[This is a new shell")
    assert (await client.bash("echo again")).ok() == "again"


async def test_restart_gives_a_fresh_shell(client: Client) -> None:
    await client.bash("cd /; X=1")
    assert (await client.execute("bash", {"restart": True})).ok() == "The shell was restarted."
    assert (await client.bash("echo x$X; basename $PWD")).ok() == "x\nworkspace"


async def test_call_over_its_time_is_stopped_with_its_children(client: Client) -> None:
    await client.bash("true")  # the shell is there, so that the time is the command's own
    outcome = await client.bash("echo begun; (sleep 60; echo no > after) ; echo no > after", timeout_ms=1_500)
    assert outcome.error() == "begun\n[The command was stopped: it took longer than 1.5 s.]"
    following = await client.bash("ls")
    assert following.ok().startswith("[This is a new shell, because the last command was stopped")
    assert "after" not in following.text


async def test_earlier_background_process_survives_a_later_timeout(client: Client) -> None:
    await client.bash("(while :; do date +%s%N > beat; sleep 0.05; done) &")
    await client.bash("while [ ! -s beat ]; do sleep 0.02; done; sleep 60", timeout_ms=400)
    changes = await client.bash(
        'old=$(cat beat); while new=$(cat beat); [ -z "$new" ] || [ "$new" = "$old" ]; do sleep 0.02; done'
    )
    assert not changes.is_error


async def test_default_time_limit_holds(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, call_timeout_s=0.3, call_timeout_s_max=0.5)
    assert "longer than 0.3 s" in (await hands.client.bash("sleep 60")).error()
    assert "longer than 0.5 s" in (await hands.client.bash("sleep 60", timeout_ms=60_000)).error()


async def test_commands_wait_for_each_other_but_file_tools_do_not(client: Client) -> None:
    slow = asyncio.create_task(client.bash("echo in > state; while [ ! -e go ]; do sleep 0.02; done; echo slow"))
    found = ""
    while found != "state":
        found = (await client.execute("glob", {"pattern": "state"})).ok()
    second = asyncio.create_task(client.bash("echo second"))
    assert not slow.done()
    assert not second.done()
    await client.execute("write", {"file_path": "go", "content": ""})
    assert (await slow).ok() == "slow"
    assert (await second).ok() == "second"


async def test_long_output_is_kept_in_a_file_and_shown_in_part(client: Client) -> None:
    outcome = await client.bash("seq 1 40000")
    assert len(outcome.ok()) < 21_000
    assert outcome.text.startswith("1\n2\n3\n")
    assert outcome.text.endswith("39999\n40000")
    path = outcome.text.split("the whole output is in ")[1].split(" ...]")[0]
    assert (await client.execute("read", {"file_path": path, "view_range": [20000, 20001]})).ok() == "20000\n20001"


async def test_flood_of_output_is_bounded_and_keeps_both_ends(start_hands: Start, backend: str) -> None:
    hands = await start_hands(backend=backend, output_bytes_max=50_000)
    outcome = await hands.client.bash("echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo last")
    assert outcome.ok().startswith("first\nxxx")
    assert outcome.text.endswith("xxx\nlast")
    assert "bytes left out" in outcome.text
    assert len(outcome.text) < 51_000


async def test_wrong_inputs_are_results_that_name_the_field(client: Client) -> None:
    assert "command is required" in (await client.execute("bash", {})).error()
    assert "timeout_ms" in (await client.execute("bash", {"command": "true", "timeout_ms": -1})).error()
    assert "cmd" in (await client.execute("bash", {"cmd": "true"})).error()
    assert "null character" in (await client.bash("a\0b")).error()
    assert "no tool 'web_fetch'" in (await client.execute("web_fetch", {"url": "x"})).error()
