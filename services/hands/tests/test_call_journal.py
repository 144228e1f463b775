"""The call journal: what it remembers, over restarts, torn lines and compaction."""

from pathlib import Path

import pytest

from efferent.hands.journal import Dropped, Journal, Result, Started


def opened(path: Path, results_max: int = 100, bytes_max: int = 1 << 20) -> Journal:
    return Journal(path / "journal", results_max=results_max, bytes_max=bytes_max)


def ran(journal: Journal, call_id: str, text: str = "[]") -> None:
    journal.start(call_id, "bash")
    journal.finish(call_id, Result(text, is_error=False))


def test_results_and_unfinished_calls_are_found_again(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    ran(journal, "a", '["é"]')
    journal.start("b", "read")
    journal.close()
    again = opened(tmp_path)
    assert again.find("a") == Result('["é"]', is_error=False)
    assert again.find("b") == Started("read")
    assert again.find("c") is None
    assert (again.knows("b"), again.knows("c")) == (True, False)
    assert again.find_or_start("a", "bash") == Result('["é"]', is_error=False)
    assert again.find_or_start("d", "bash") is None
    assert again.find_or_start("d", "bash") == Started("bash")
    assert again.had_commands
    again.close()


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_line_that_was_torn_by_a_crash_is_forgotten(tmp_path: Path, cut: int) -> None:
    journal = opened(tmp_path)
    ran(journal, "a")
    journal.start("b", "bash")
    journal.close()
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes()[:-cut])
    again = opened(tmp_path)
    assert again.find("a") == Result("[]", is_error=False)
    assert again.find("b") is None
    ran(again, "b")
    again.close()
    last = opened(tmp_path)
    assert last.find("b") == Result("[]", is_error=False)
    last.close()


def test_old_results_are_dropped_and_never_forgotten(tmp_path: Path) -> None:
    journal = opened(tmp_path, results_max=5)
    journal.start("unfinished", "bash")
    for number in range(30):
        ran(journal, f"call{number}")
    for known in (journal, opened(tmp_path, results_max=5)):
        assert known.find("call29") == Result("[]", is_error=False)
        assert known.find("call0") == Dropped()
        assert known.find("unfinished") == Started("bash")
        kept = sum(isinstance(known.find(f"call{number}"), Result) for number in range(30))
        assert 5 <= kept <= 10
        known.close()


def test_large_results_keep_the_file_within_its_size(tmp_path: Path) -> None:
    journal = opened(tmp_path, bytes_max=100_000)
    for number in range(50):
        ran(journal, f"call{number}", f'["{"x" * 20_000}"]')
    assert (tmp_path / "journal").stat().st_size < 130_000
    found = journal.find("call49")
    assert isinstance(found, Result)
    assert len(found.content_json) > 20_000
    journal.close()


def test_one_result_larger_than_the_limit_is_kept_while_it_is_the_newest(tmp_path: Path) -> None:
    journal = opened(tmp_path, bytes_max=1_000)
    ran(journal, "big", f'["{"x" * 5_000}"]')
    assert isinstance(journal.find("big"), Result)
    ran(journal, "next")
    assert journal.find("big") == Dropped()
    assert isinstance(journal.find("next"), Result)
    journal.close()


def test_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"not json}\nmore\n")
    with pytest.raises(ValueError):
        opened(tmp_path)
