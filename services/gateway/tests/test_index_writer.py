"""Under a load many records share a transaction, and nobody waits longer for it than the longest pause."""

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from efferent.gateway.sessions.event_index import EventIndex
from efferent.gateway.sessions.index_writer import MANY_RECORDS, PAUSE_MAX_S, IndexWriter
from efferent.gateway.sessions.projected import Changes

WAIT_S = 20.0


@pytest.fixture
def written() -> "queue.Queue[Changes]":
    return queue.Queue()


@pytest.fixture
def writer(tmp_path: Path, written: "queue.Queue[Changes]") -> Iterator[IndexWriter]:
    index = EventIndex.open(tmp_path / "index.sqlite", "SESSIONS")
    writer = IndexWriter(index, 0.0, written.put, lambda _: None)
    writer.start()
    yield writer
    writer.close()
    index.close()


def test_after_a_large_transaction_the_next_gathers_until_what_is_wanted_is_there(
    writer: IndexWriter, written: "queue.Queue[Changes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efferent.gateway.sessions.index_writer.PAUSE_MAX_S", 2 * WAIT_S)
    writer.add(Changes(applied=1, records=1_000 * MANY_RECORDS))
    assert written.get(timeout=WAIT_S).applied == 1
    writer.hurry(3)
    writer.hurry(5)
    for sequence in range(2, 6):
        writer.add(Changes(applied=sequence, records=1))
    gathered = written.get(timeout=WAIT_S)
    assert (gathered.applied, gathered.records) == (5, 4)


def test_what_is_wanted_and_does_not_come_is_not_waited_for_longer_than_the_longest_pause(
    writer: IndexWriter, written: "queue.Queue[Changes]"
) -> None:
    writer.add(Changes(applied=1, records=1_000 * MANY_RECORDS))
    assert written.get(timeout=WAIT_S).applied == 1
    started_s = time.monotonic()
    writer.hurry(6)
    for sequence in range(2, 6):
        writer.add(Changes(applied=sequence, records=1))
    gathered = written.get(timeout=WAIT_S)
    assert (gathered.applied, gathered.records) == (5, 4)
    assert time.monotonic() - started_s > PAUSE_MAX_S / 2


def test_without_a_sequence_whatever_waits_is_written_now(
    writer: IndexWriter, written: "queue.Queue[Changes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efferent.gateway.sessions.index_writer.PAUSE_MAX_S", 2 * WAIT_S)
    writer.add(Changes(applied=1, records=1_000 * MANY_RECORDS))
    assert written.get(timeout=WAIT_S).applied == 1
    writer.add(Changes(applied=0, removals=1))
    writer.hurry()
    assert written.get(timeout=WAIT_S).removals == 1


def test_after_a_small_transaction_the_next_is_written_at_once(
    writer: IndexWriter, written: "queue.Queue[Changes]"
) -> None:
    for sequence in range(1, 4):
        writer.add(Changes(applied=sequence, records=MANY_RECORDS - 1))
        assert written.get(timeout=WAIT_S).applied == sequence


def test_closing_ends_a_pause_and_writes_what_waits(writer: IndexWriter, written: "queue.Queue[Changes]") -> None:
    writer.add(Changes(applied=1, records=1_000 * MANY_RECORDS))
    assert written.get(timeout=WAIT_S).applied == 1
    writer.add(Changes(applied=2, records=1))
    writer.close()
    assert written.get(timeout=WAIT_S).applied == 2
