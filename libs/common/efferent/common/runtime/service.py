"""What a service is and how one is run as a process: start, serve until told to stop, drain, stop.

The shutdown order is written here and nowhere else: stop taking in work, finish or hand over what is in flight within
the budget, close the adapters. Signals belong to this module; a service never installs a handler of its own.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

from efferent.common.runtime.parent_death import SupervisorLink

DRAIN_BUDGET_S: Final = 10.0
_STOP_BUDGET_MAX_S: Final = 2.0
_GC_NEW_OBJECTS: Final = 20_000
"""New objects after which the garbage collector looks for cycles: a replay makes thousands that are all kept."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_log = logging.getLogger(__name__)


class Service(Protocol):
    """One service of Efferent, built and not yet started."""

    async def start(self) -> None:
        """Return once the service can do its work; raise when it cannot."""

    async def drain(self) -> None:
        """Take in no more work; finish or hand over what is in flight. May be cancelled when the budget is spent."""

    async def stop(self) -> None:
        """Close everything. Called once, also after a failed start."""


def run(name: str, build: Callable[[], Service], *, drain_budget_s: float = DRAIN_BUDGET_S) -> int:
    """Run a service in the foreground until SIGTERM, SIGINT or SIGHUP. Returns the exit code of the process.

    ``build`` is called inside the event loop. Closing may take half as long again as draining. The exit code is 0 for a
    service that was told to stop and stopped, 1 when the start failed or the supervisor died.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(name, build, drain_budget_s))


async def _serve(name: str, build: Callable[[], Service], drain_budget_s: float) -> int:
    link = SupervisorLink.from_environment(os.environ)
    told_to_stop = asyncio.Event()
    orphaned = asyncio.create_task(link.supervisor_gone()) if link is not None else None
    if orphaned is not None:
        orphaned.add_done_callback(lambda _: told_to_stop.set())
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, told_to_stop.set)
    try:
        service = build()
    except Exception as error:
        _log.error("cannot be put together: %s", error, exc_info=error, extra={"service_name": name})
        return 1
    try:
        started = await _start(name, service, told_to_stop)
        if started:
            settle_garbage()
            _log.info("ready", extra={"service_name": name})
            if link is not None:
                link.tell_ready()
            await told_to_stop.wait()
            await _within(drain_budget_s, service.drain(), "drain")
    finally:
        await _within(min(_STOP_BUDGET_MAX_S, drain_budget_s / 2), service.stop(), "stop")
        is_orphan = orphaned is not None and orphaned.done()
        if orphaned is not None:
            orphaned.cancel()
            await asyncio.wait([orphaned])
        if link is not None:
            link.close()
    return 0 if (started or told_to_stop.is_set()) and not is_orphan else 1


async def _start(name: str, service: Service, told_to_stop: asyncio.Event) -> bool:
    """Start the service; False when it failed or was told to stop before it was ready."""
    starting = asyncio.create_task(service.start())
    stopping = asyncio.create_task(told_to_stop.wait())
    await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return False
    if error := starting.exception():
        _log.error("cannot start: %s", error, exc_info=error, extra={"service_name": name})
        return False
    return True


def settle_garbage() -> None:
    """What a start has made, all modules among it, stays for good: the garbage collector need not walk it again.

    For the process as a whole; ``run`` does it once the service has started.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_NEW_OBJECTS)


async def _within(budget_s: float, step: Coroutine[object, object, None], name: str) -> None:
    """Give a step of the shutdown its time; a step that fails or takes longer does not stop the next one."""
    try:
        async with asyncio.timeout(budget_s):
            await step
    except TimeoutError:
        _log.warning("%s took longer than %.1f s", name, budget_s)
    except Exception as error:
        _log.error("%s failed", name, exc_info=error)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
