"""How far a projection has come, and waiting until it has come far enough."""

import asyncio
import heapq
from itertools import count

from efferent.gateway.errors import Overloaded


class Progress:
    """A sequence that only grows, with those who wait for it."""

    def __init__(self, applied: int = 0) -> None:
        self._applied = applied
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._tickets = count()

    @property
    def applied(self) -> int:
        """Everything up to this sequence has been applied."""
        return self._applied

    def advance(self, sequence: int) -> None:
        """Everything up to this sequence has been applied now; wakes who waits for no more than that."""
        self._applied = max(self._applied, sequence)
        while self._waiting and self._waiting[0][0] <= self._applied:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(None)

    def reset(self, sequence: int = 0) -> None:
        """Start again from this sequence."""
        self._applied = sequence

    async def reach(self, sequence: int, within_s: float) -> None:
        """Return when everything up to this sequence has been applied. Raises Overloaded after ``within_s`` seconds."""
        if sequence <= self._applied:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (sequence, next(self._tickets), waiter))
        try:
            async with asyncio.timeout(within_s):
                await waiter
        except TimeoutError as error:
            raise Overloaded("The server is catching up. Please try again.") from error
        finally:
            self._waiting = [entry for entry in self._waiting if entry[2] is not waiter]
            heapq.heapify(self._waiting)
