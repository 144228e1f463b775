"""All sessions that this brain works on: hands deliveries to workers, keeps them in progress, drains."""

import asyncio
import contextlib
import logging
from typing import Final

from efferent.brain.worker import Desk, SessionWorker
from efferent.common.domain.ids import SessionId
from efferent.common.ports import Delivery, InboundConsumer, LogError, LogUnreadable

UNREADABLE_NAK_DELAY_S: Final = 30.0
"""A record of an unknown shape is delivered again after this time: a newer release may read it."""
FULL_NAK_DELAY_S: Final = 1.0
DELIVERY_GRACE_S: Final = 0.02
"""How long a record that was seen live may take to be delivered here before it is read from the log."""
FAILED_NAK_DELAY_S: Final = 0.5

logger = logging.getLogger("efferent.brain")


class Roster:
    """The workers of one brain."""

    def __init__(self, desk: Desk, inbound: InboundConsumer) -> None:
        self._desk = desk
        self._inbound = inbound
        self._workers: dict[SessionId, tuple[SessionWorker, asyncio.Task[None]]] = {}
        self._draining = False

    @property
    def session_ids(self) -> tuple[SessionId, ...]:
        """Sessions whose claim this brain holds."""
        return tuple(key for key, (worker, _) in self._workers.items() if worker.is_performing)

    async def serve(self) -> None:
        """Hand out deliveries until the consumer is closed."""
        async for delivery in self._inbound.deliveries():
            await self._accept(delivery)

    def committed(self, session_id: SessionId, sequence: int) -> None:
        """A client's record was committed. The holder sees it soon, also when another brain gets the delivery.

        Mostly the delivery comes here too and in the same moment, so the log is read only when it did not.
        """
        entry = self._workers.get(session_id)
        if entry is not None and entry[0].is_performing and entry[0].known < sequence:
            asyncio.get_running_loop().call_later(DELIVERY_GRACE_S, self._refresh, session_id, sequence)

    async def keep_alive(self) -> None:
        """Say for ever that what is held is being worked on, and look for records that no message told of."""
        while True:
            await asyncio.sleep(self._desk.settings.in_progress_every_s)
            for worker, _ in list(self._workers.values()):
                for delivery in list(worker.held):
                    await delivery.in_progress()
                if worker.is_performing:
                    with contextlib.suppress(LogError):
                        if await self._desk.log.last_sequence(worker.session_id) > worker.sequence:
                            worker.refresh()

    async def drain(self) -> None:
        """Stop working; everything held goes to another brain at once."""
        self._draining = True
        entries = list(self._workers.values())
        for _, task in entries:
            task.cancel()
        await asyncio.gather(*(task for _, task in entries), return_exceptions=True)
        for worker, _ in entries:
            await worker.give_back(0.0)

    def _refresh(self, session_id: SessionId, sequence: int) -> None:
        entry = self._workers.get(session_id)
        if entry is not None and entry[0].known < sequence:
            entry[0].refresh()

    async def _accept(self, delivery: Delivery) -> None:
        if self._draining:
            await delivery.nak(0.0)
            return
        entry = self._workers.get(delivery.session_id)
        if entry is not None:
            entry[0].deliver(delivery)
        elif self._is_held_elsewhere(delivery.session_id):
            # Decided from presence alone: folding a long log only to give the session back would be dear.
            await delivery.nak(self._desk.settings.busy_nak_delay_s)
        elif len(self._workers) >= self._desk.settings.sessions_max:
            await delivery.nak(FULL_NAK_DELAY_S)
        else:
            self._begin(delivery)

    def _is_held_elsewhere(self, session_id: SessionId) -> bool:
        holder = self._desk.presence.holder_of(session_id)
        return holder is not None and holder != self._desk.brain_id

    def _begin(self, delivery: Delivery) -> None:
        worker = SessionWorker(self._desk, delivery.session_id)
        worker.deliver(delivery)
        task = asyncio.create_task(self._work(worker))
        self._workers[delivery.session_id] = (worker, task)

    async def _work(self, worker: SessionWorker) -> None:
        try:
            await worker.run()
        except LogUnreadable:
            logger.error("session unreadable", extra={"session_id": worker.session_id})
            await worker.give_back(UNREADABLE_NAK_DELAY_S)
        except LogError as error:
            logger.warning("log unavailable: %s", error, extra={"session_id": worker.session_id})
            self._desk.cache.drop(worker.session_id)
            await worker.give_back(FAILED_NAK_DELAY_S)
        except Exception:
            # A bug must not take the other sessions of this brain down; the record comes again, here or elsewhere.
            logger.exception("worker failed", extra={"session_id": worker.session_id})
            self._desk.cache.drop(worker.session_id)
            await worker.give_back(FULL_NAK_DELAY_S)
        finally:
            self._workers.pop(worker.session_id, None)
        if worker.held and not self._draining:
            await worker.give_back(0.0)
