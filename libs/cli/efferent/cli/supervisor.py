"""Keeps the children of ``efferent up`` alive, and stops them in order.

A child that dies is started again by its restart policy for as long as the server runs, whatever it died of. Stopping
goes through the children in the order in which they were given.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Final

from efferent.cli.child import Child, ChildSpec
from efferent.cli.restart_policy import RestartPolicy

Say = Callable[[str], None]
"""Tells the person at the terminal one line."""

_SPAWN_FAILED: Final = 127


class Supervisor:
    """The children of one server. ``specs`` come in the order in which they are stopped."""

    def __init__(self, specs: Sequence[ChildSpec], say: Say, *, restart_burst: int = 3) -> None:
        self._specs = tuple(specs)
        self._say = say
        self._restart_burst = restart_burst
        self._stopping = asyncio.Event()
        self._living: dict[str, Child] = {}
        self._ready = {spec.name: asyncio.Event() for spec in self._specs}
        self._keepers: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to start the children, each as soon as those that it needs are ready."""
        self._keepers = {spec.name: asyncio.create_task(self._keep(spec), name=spec.name) for spec in self._specs}
        for keeper in self._keepers.values():
            keeper.add_done_callback(self._keeper_ended)

    async def wait_ready(self) -> None:
        """Return once every child was ready at least once."""
        for ready in self._ready.values():
            await ready.wait()

    async def stop(self) -> None:
        """Stop the children one after the other, each within its own budget."""
        self._stopping.set()
        for spec in self._specs:
            if child := self._living.get(spec.name):
                await child.terminate()
            await self._end(self._keepers.get(spec.name))

    async def restart(self, name: str) -> None:
        """Stop one child; its keeper starts it again."""
        if child := self._living.get(name):
            await child.terminate()

    def kill(self) -> None:
        """Kill all children at once."""
        self._stopping.set()
        for child in self._living.values():
            child.kill()

    def pids(self) -> dict[str, int]:
        """Process ids of the living children by name."""
        return {name: child.pid for name, child in self._living.items()}

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        """A keeper ends with its supervisor; one that ended by an error leaves its child alone, which must be said."""
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._say(f"{keeper.get_name()} is not looked after any more: {error!r}")

    async def _keep(self, spec: ChildSpec) -> None:
        for name in spec.after:
            await self._ready[name].wait()
        policy = RestartPolicy(self._restart_burst)
        while not self._stopping.is_set():
            pid, code = await self._live(spec)
            if self._stopping.is_set():
                return
            delay_s = policy.died(asyncio.get_running_loop().time())
            self._say(f"{spec.name} (process {pid}) {_how_it_ended(code)}; starting it again in {delay_s:g} s")
            await self._pause(delay_s)

    async def _live(self, spec: ChildSpec) -> tuple[int, int]:
        """One life of a child, from its start to its end. Returns its process id and exit code."""
        try:
            child = await Child.spawn(spec)
        except OSError as error:
            self._say(f"{spec.name} cannot be started: {error}")
            return 0, _SPAWN_FAILED
        self._living[spec.name] = child
        if self._stopping.is_set():  # told to stop while it was being started
            await child.terminate()
        readiness = asyncio.create_task(self._note_ready(spec.name, child))
        try:
            return child.pid, await child.wait()
        finally:
            readiness.cancel()
            await asyncio.wait([readiness])
            del self._living[spec.name]

    async def _note_ready(self, name: str, child: Child) -> None:
        if await child.ready():
            self._ready[name].set()
            self._say(f"{name} is ready (process {child.pid})")

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _end(self, keeper: asyncio.Task[None] | None) -> None:
        """Wait for a keeper whose child has ended; one that still waits for others is cancelled."""
        if keeper is None:
            return
        if not self._living.get(keeper.get_name()):
            keeper.cancel()
        await asyncio.wait([keeper])


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
