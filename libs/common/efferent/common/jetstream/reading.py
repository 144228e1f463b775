"""Reading a stream: pages by batch direct get, single records from the leader. Shared by both logs and the feed.

At three replicas a direct get may be answered by a replica that lags. So every read names the sequence that it must
reach; where a page ends before it, the stream's leader is asked what comes next. What was removed is another matter: a
replica that lags still has it, and shows it for a moment more.
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from efferent.common.domain import timestamp
from efferent.common.domain.timestamp import Timestamp
from efferent.common.jetstream import api, subjects
from efferent.common.jetstream.connection import Connection, Headers, Message, RequestFailed
from efferent.common.ports import LogUnavailable, RawRecord

PAGE_RECORDS: Final = 1_000
PAGE_BYTES: Final = 4 * 1024 * 1024
PAGE_TIMEOUT_S: Final = 5.0

EXPECTED_HEADER: Final = "Nats-Expected-Last-Subject-Sequence"
FENCE_HEADER: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
ID_HEADER: Final = "Nats-Msg-Id"

_PLACE: Final = re.compile(
    r"\r\nNats-Subject: ([^\r]+)\r\nNats-Sequence: (\d+)\r\n"
    r"Nats-Time-Stamp: [^\r]+\r\n(?:Nats-Num-Pending: \d+\r\n)?Nats-Last-Sequence: (\d+)\r\n"
)
"""Where a record stands, as the server writes it in one piece."""
_END_OF_BATCH: Final = "204"
_NOT_FOUND: Final = "404"


@dataclass(frozen=True, slots=True)
class LeaderRecord:
    """A record as the stream's leader knows it, with its message id."""

    raw: RawRecord
    message_id: str | None
    time: str
    """When the leader took it, as the server writes it, in nanoseconds."""

    @property
    def taken_at(self) -> Timestamp:
        """When the leader took it."""
        return timestamp.from_datetime(datetime.fromisoformat(self.time))


@dataclass(frozen=True, slots=True)
class _Page:
    records: list[RawRecord]
    has_more: bool


class StreamReader:
    """Reads one stream."""

    def __init__(
        self,
        connection: Connection,
        stream: subjects.Stream,
        *,
        page_records: int = PAGE_RECORDS,
        deadline_s: float = api.DEADLINE_S,
    ) -> None:
        """``deadline_s``: how long each page, or each wait for ``reach``, may take before LogUnavailable."""
        self._connection = connection
        self._deadline_s = deadline_s
        self._stream = stream
        self._whole = subjects.all_of(stream)
        self._page_records = page_records

    async def last(self, pattern: str) -> LeaderRecord | None:
        """The newest record that matches, from the leader. Raises LogUnavailable."""
        return await self._from_leader({"last_by_subj": pattern})

    async def last_sequence(self, pattern: str) -> int:
        """Sequence of the newest record that matches; 0 when there is none. Raises LogUnavailable."""
        newest = await self.last(pattern)
        return newest.raw.sequence if newest is not None else 0

    async def next(self, pattern: str, *, after: int) -> LeaderRecord | None:
        """The first record after this sequence that matches, from the leader. Raises LogUnavailable."""
        return await self._from_leader({"seq": after + 1, "next_by_subj": pattern})

    async def pages(self, pattern: str, *, after: int, reach: int | None) -> AsyncGenerator[list[RawRecord]]:
        """Records that match, in order, in pages, until ``reach`` (None: the newest that matches now) is passed.

        Raises LogUnavailable when the log does not answer or does not get as far as ``reach``.
        """
        position = after
        coming = self._start_page(pattern, position)
        try:
            end = await self.last_sequence(pattern) if reach is None else reach
            if reach is None and end <= after:
                return  # the leader has nothing: what a page shows nevertheless was removed
            while True:
                page = await coming
                if page.records:
                    position = page.records[-1].sequence
                    if page.has_more:  # the server works on the next page while the caller works on this one
                        coming = self._start_page(pattern, position)
                    yield page.records
                if page.has_more:
                    continue
                if position >= end:
                    return
                following = await self._following(pattern, position, end)
                if following is None:
                    return
                position = following.sequence
                coming = self._start_page(pattern, position)
                yield [following]
        finally:
            coming.cancel()

    async def _following(self, pattern: str, position: int, reach: int) -> RawRecord | None:
        """What comes after ``position`` for the leader; None when everything up to ``reach`` is gone (purged)."""
        deadline = api.Deadline.after(self._deadline_s)
        while True:
            following = await self.next(pattern, after=position)
            if following is not None:
                return following.raw
            if await self._stream_end() >= reach:
                return None
            await deadline.pause(self._connection, LogUnavailable(f"the log has not reached {reach}"))

    async def _stream_end(self) -> int:
        """The last sequence that the stream has given, whether the record still exists or not."""
        try:
            info = await self._call(f"STREAM.INFO.{self._stream}", {})
        except api.ApiError as error:
            raise LogUnavailable(str(error)) from error
        end: int = info["state"]["last_seq"]
        return end

    async def _from_leader(self, question: dict[str, Any]) -> LeaderRecord | None:
        try:
            answer = await self._call(f"STREAM.MSG.GET.{self._stream}", question)
        except api.ApiError as error:
            if error.error == api.NOT_FOUND:
                return None
            raise LogUnavailable(str(error)) from error
        return _leader_record(answer["message"])

    async def _call(self, subject: str, question: dict[str, Any]) -> dict[str, Any]:
        return await api.call(self._connection, subject, question, deadline_s=self._deadline_s)

    def _start_page(self, pattern: str, after: int) -> "asyncio.Task[_Page]":
        task = asyncio.create_task(self._page(pattern, after))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
        return task

    async def _page(self, pattern: str, after: int) -> _Page:
        question = {"seq": after + 1, "batch": self._page_records, "max_bytes": PAGE_BYTES}
        if pattern == self._whole:
            # Without a filter the server does a third of the work, but finds nothing when this very record is gone.
            page = await self._asked(question)
            if page.records:
                return page
        return await self._asked({**question, "next_by_subj": pattern})

    async def _asked(self, question: dict[str, Any]) -> _Page:
        payload = orjson.dumps(question)
        try:
            return await api.retrying(
                self._connection, api.Deadline.after(self._deadline_s), lambda: self._page_once(payload)
            )
        except api.ApiError as error:
            raise LogUnavailable(str(error)) from error

    async def _page_once(self, payload: bytes) -> _Page:
        *messages, end = await self._connection.request_many(
            f"$JS.API.DIRECT.GET.{self._stream}", payload, timeout_s=PAGE_TIMEOUT_S
        )
        if end.status == _NOT_FOUND:
            return _Page([], has_more=False)
        if end.status != _END_OF_BATCH:
            raise api.ApiError(int(end.status or 0), 0, end.headers.get("Description", "direct get failed"))
        placed = [_placed_record(message) for message in messages]
        records = [record for record, _ in placed]
        before = [sequence for _, sequence in placed[1:]]
        if [record.sequence for record in records] != [*before, int(end.headers["Nats-Last-Sequence"])]:
            raise RequestFailed("an answer got lost on its way")  # each names the sequence of the one before it
        return _Page(records, has_more=bool(records) and int(end.headers.get("Nats-Num-Pending", 0)) > 0)


def raw_record(message: Message) -> RawRecord:
    """The record in an answer to a direct get or in a republished message."""
    return _placed_record(message)[0]


def _placed_record(message: Message) -> tuple[RawRecord, int]:
    """The record, and the sequence of the one that was sent before it."""
    headers = message.headers
    previous = int(headers.get(EXPECTED_HEADER, 0))
    place = _PLACE.search(headers.block) if isinstance(headers, Headers) else None
    if place is None:
        sequence, subject, before = headers["Nats-Sequence"], headers["Nats-Subject"], headers["Nats-Last-Sequence"]
    else:
        subject, sequence, before = place.groups()
    return RawRecord(int(sequence), subject, message.data, previous), int(before)


def _leader_record(message: dict[str, Any]) -> LeaderRecord:
    headers = _parse_headers(base64.b64decode(message.get("hdrs", "")))
    raw = RawRecord(
        sequence=message["seq"],
        subject=message["subject"],
        payload=base64.b64decode(message.get("data", "")),
        previous=int(headers.get(EXPECTED_HEADER, 0)),
    )
    return LeaderRecord(raw, headers.get(ID_HEADER), message["time"])


def _parse_headers(block: bytes) -> dict[str, str]:
    lines = block.decode().split("\r\n")[1:]
    return {name.strip(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
