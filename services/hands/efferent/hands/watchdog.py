"""Watches a running command's disk and memory, where the kernel does not enforce the limit by itself."""

import asyncio
from collections.abc import Coroutine
from typing import NoReturn

from efferent.hands.disk import DiskLedger, LimitExceeded
from efferent.hands.ports import CommandResult, Sandbox
from efferent.hands.settings import HandsSettings


async def watched(
    command: Coroutine[object, object, CommandResult], sandbox: Sandbox, ledger: DiskLedger, settings: HandsSettings
) -> CommandResult:
    """Run the command under watch. Raises LimitExceeded after it was stopped, and what the command raises."""
    running = asyncio.create_task(command)
    watching = asyncio.create_task(_watch(sandbox, ledger, settings))
    try:
        await asyncio.wait([running, watching], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            watching.result()  # it ends only by raising
        return await running
    finally:
        for task in (watching, running):
            task.cancel()
        await asyncio.gather(watching, running, return_exceptions=True)


async def _watch(sandbox: Sandbox, ledger: DiskLedger, settings: HandsSettings) -> NoReturn:
    """Raises LimitExceeded when a limit is passed, SandboxDied when there is nothing to watch any more."""
    baseline = ledger.usage
    while True:
        await asyncio.sleep(settings.watch_every_s)
        check_memory(sandbox, settings)
        if ledger.is_due():
            await ledger.measure(sandbox)
            ledger.check(baseline)


def check_memory(sandbox: Sandbox, settings: HandsSettings) -> None:
    """Raises LimitExceeded when the sandbox's processes together use more than they may."""
    used = sandbox.memory_bytes()
    if used is not None and used > settings.memory_bytes_max:
        raise LimitExceeded(f"The session's memory limit of {settings.memory_bytes_max} bytes is passed")
