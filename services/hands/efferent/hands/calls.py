"""One call in a session's sandbox, from its checked input to its result."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from efferent.hands.disk import DiskLedger, LimitExceeded
from efferent.hands.folder import TOOL_OUTPUT, SessionFolder
from efferent.hands.journal import Result
from efferent.hands.pool import Pool
from efferent.hands.ports import CommandResult, Exited, HandsError, Sandbox, SandboxDied
from efferent.hands.results import (
    TEXT_CHARACTERS_MAX,
    LongText,
    blocks_result,
    command_text,
    decoded,
    is_failure,
    preview,
    text_result,
)
from efferent.hands.settings import HandsSettings
from efferent.hands.tool_inputs import Bash, InvalidInput, parse
from efferent.hands.tools.requests import Edit, FileRequest, Read, Reply, Write
from efferent.hands.watchdog import watched

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ShellMemory:
    """What the session's shell was, so that the model learns when it is a new one."""

    sandbox: Sandbox | None = None
    lost_because: str | None = None
    """Why the shell that held the session's state is gone; None while it lives, or when there was none."""

    def fresh_shell(self, sandbox: Sandbox) -> str | None:
        """What to tell the model before its next command; nothing when its shell is still there."""
        if self.lost_because is None and self.sandbox is not None and self.sandbox is not sandbox:
            self.lost_because = "the sandbox was ended"
        reason, self.lost_because = self.lost_because, None
        self.sandbox = sandbox
        return (
            f"This is a new shell, because {reason}: directory, variables and functions are reset" if reason else None
        )


class Calls:
    """Runs the calls of one session. Commands wait for each other, file tools wait for nobody."""

    def __init__(self, session_id: str, folder: SessionFolder, pool: Pool, settings: HandsSettings) -> None:
        self._session_id = session_id
        self._folder = folder
        self._pool = pool
        self._settings = settings
        self._shell_turn = asyncio.Lock()
        self.shell = ShellMemory()

    async def warm(self) -> None:
        """Have a sandbox started, while the call that needs it is still being recorded."""
        with contextlib.suppress(HandsError):  # the call itself will meet the same error, and answer with it
            async with self._pool.use(self._session_id, self._folder):
                pass

    async def run(self, call_id: str, tool: str, input_json: str, on_output: Callable[[bytes], None]) -> Result:
        """Run a call. Whatever goes wrong becomes a result; only cancelling raises."""
        try:
            match parse(tool, input_json):
                case Bash() as asked:
                    return await self._bash(call_id, asked, on_output)
                case request:
                    return await self._file_tool(call_id, request)
        except (InvalidInput, LimitExceeded) as problem:
            return text_result(str(problem), is_error=True)
        except HandsError as problem:
            _log.warning("a call failed with its sandbox", extra={"session_id": self._session_id, "call_id": call_id})
            return text_result(f"The sandbox failed: {problem}", is_error=True)

    async def _bash(self, call_id: str, asked: Bash, on_output: Callable[[bytes], None]) -> Result:
        async with self._shell_turn, self._pool.use(self._session_id, self._folder) as (sandbox, ledger):
            if asked.restart:
                await sandbox.restart_shell()
                self.shell = ShellMemory(sandbox)
                if not asked.command:
                    return text_result("The shell was restarted.")
            fresh = self.shell.fresh_shell(sandbox)
            result = await self._command(asked, sandbox, ledger, on_output)
            text = command_text(await self._shortened(call_id, decoded(result.output), sandbox), result, fresh)
            return text_result(text, is_error=is_failure(result))

    async def _command(
        self, asked: Bash, sandbox: Sandbox, ledger: DiskLedger, on_output: Callable[[bytes], None]
    ) -> CommandResult:
        wanted_s = asked.timeout_ms / 1000 if asked.timeout_ms else self._settings.call_timeout_s
        timeout_s = min(wanted_s, self._settings.call_timeout_s_max)
        kills = sandbox.memory_kills()
        self.shell.lost_because = "the last command was stopped"  # until it is known to have ended by itself
        command = sandbox.run(asked.command or "", timeout_s, on_output)
        memory_note = f"the session may use {self._settings.memory_bytes_max} bytes of memory"
        try:
            result = await watched(command, sandbox, ledger, self._settings)
        except SandboxDied as died:
            raise SandboxDied(f"{died}; {memory_note}") if sandbox.memory_kills() > kills else died from died
        if result.end == Exited(0) or (isinstance(result.end, Exited) and not result.end.ended_shell):
            self.shell.lost_because = None
        elif isinstance(result.end, Exited):
            self.shell.lost_because = "the last command ended the shell"
        if sandbox.memory_kills() > kills:
            return replace(result, note=f"A process was killed: {memory_note}.")
        return result

    async def _file_tool(self, call_id: str, request: FileRequest) -> Result:
        async with self._pool.use(self._session_id, self._folder) as (sandbox, ledger):
            match request:
                case Write(content=text) | Edit(new_string=text):
                    await ledger.admit(sandbox, len(text.encode(errors="replace")))
                case _:
                    pass
            reply = await sandbox.file_tool(request)
            return await self._file_result(call_id, request, reply, sandbox)

    async def _file_result(self, call_id: str, request: FileRequest, reply: Reply, sandbox: Sandbox) -> Result:
        blocks = list(reply.blocks)
        for at, block in enumerate(blocks):
            text = block.get("text")
            if isinstance(text, str) and len(text) > TEXT_CHARACTERS_MAX:
                # What was read is in a file already.
                short = (
                    preview(LongText(text, request.file_path))
                    if isinstance(request, Read)
                    else await self._shortened(call_id, text, sandbox)
                )
                blocks[at] = {**block, "text": short}
        return blocks_result(blocks, is_error=reply.is_error)

    async def _shortened(self, call_id: str, text: str, sandbox: Sandbox) -> str:
        """The text, or a preview of it when it is too long; then the whole of it is in a file of the sandbox."""
        if len(text) <= TEXT_CHARACTERS_MAX:
            return text
        path = f"{TOOL_OUTPUT}/{call_id}.txt"
        try:
            reply = await sandbox.file_tool(Write(path, text))
        except HandsError:
            return preview(LongText(text, None))
        return preview(LongText(text, None if reply.is_error else path))
