"""The persistent shell of a sandbox, as seen from outside: commands in, output and exit codes out."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from efferent.hands import processes
from efferent.hands.adapters.control import Control
from efferent.hands.output import LINGERING_MAX, Capture
from efferent.hands.ports import CommandEnd, CommandResult, Exited, SandboxDied, TimedOut

START_WITHIN_S: Final = 10.0
END_WITHIN_S: Final = 5.0
JOBS_MAX: Final = 1_000


class Shell:
    """Runs one command at a time. A shell is started when a command needs one."""

    def __init__(self, control: Control, run: Path, root_pid: int, output_bytes_max: int) -> None:
        """``run``: the folder of commands and pipes. ``root_pid``: the sandbox's first process on the host."""
        self._control = control
        self._run = run
        self._root_pid = root_pid
        self._output_bytes_max = output_bytes_max
        self._pid: int | None = None
        self._number = 0
        self._lingering: list[Capture] = []

    async def run(self, command: str, timeout_s: float, on_output: Callable[[bytes], None]) -> CommandResult:
        """Run a command. Raises SandboxDied, also when it could not be stopped: the sandbox is of no use then."""
        await self._ensure()
        self._number += 1
        script = self._run / f"{self._number}.cmd"
        script.write_text(command, encoding="utf-8", errors="replace")
        script.chmod(0o644)
        capture = Capture(self._run / f"{self._number}.out", self._output_bytes_max, on_output)
        try:
            end = await self._perform(timeout_s)
            is_written_to = capture.finish()
            result = CommandResult(end, capture.output(), capture.total_bytes)
        except BaseException:
            capture.close()
            raise
        finally:
            script.unlink(missing_ok=True)
        self._keep_reading(capture) if is_written_to else capture.close()
        return result

    async def restart(self) -> None:
        """End the shell with everything that it runs in the foreground; the next command starts another."""
        if self._pid is not None:
            await self._end(processes.Earlier(processes.now_ticks(), frozenset()))

    def close(self) -> None:
        """Stop reading what background processes print."""
        for capture in self._lingering:
            capture.close()
        self._lingering.clear()

    async def _ensure(self) -> None:
        if self._pid is not None:
            return
        self._control.send("start")
        try:
            async with asyncio.timeout(START_WITHIN_S):
                while (words := await self._control.receive())[:1] != ["shell"]:
                    pass
        except TimeoutError as error:
            raise SandboxDied("no shell could be started") from error
        self._pid = int(words[1])

    async def _perform(self, timeout_s: float) -> CommandEnd:
        since = processes.now_ticks()
        jobs: set[int] = set()
        try:
            self._control.send(str(self._number))
            async with asyncio.timeout(timeout_s):
                return await self._answer(jobs)
        except TimeoutError:
            await self._end(processes.Earlier(since, frozenset(jobs)))
            return TimedOut(timeout_s)
        except asyncio.CancelledError:
            await self._end(processes.Earlier(since, frozenset(jobs)))
            raise

    async def _answer(self, jobs: set[int]) -> Exited:
        while True:
            match await self._control.receive():
                case ["done", number, code] if number == str(self._number):
                    return Exited(int(code))
                case ["exit", code]:
                    self._pid = None
                    return Exited(int(code), ended_shell=True)
                case [pid] if pid.isdecimal() and len(jobs) < JOBS_MAX:
                    jobs.add(int(pid))
                case _:
                    continue  # not of the protocol: a process in the sandbox got hold of the descriptor

    async def _end(self, earlier: processes.Earlier) -> None:
        """Kill the shell and wait until its keeper has said so."""
        pid, self._pid = self._pid, None
        if pid is None:
            return
        if not await asyncio.to_thread(processes.end_command, self._root_pid, pid, earlier):
            raise SandboxDied("the command kept starting processes")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_WITHIN_S):
                while (await self._control.receive())[:1] != ["exit"]:
                    pass
                return
        raise SandboxDied("the shell did not end")

    def _keep_reading(self, capture: Capture) -> None:
        self._lingering.append(capture)
        capture.discard(lambda: self._forget(capture))
        if len(self._lingering) > LINGERING_MAX:
            self._lingering.pop(0).close()

    def _forget(self, capture: Capture) -> None:
        if capture in self._lingering:
            self._lingering.remove(capture)
