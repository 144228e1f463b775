"""The hold: previews in step with the log, and nothing but prefixes."""

from efferent.gateway.sessions.public_events import Position, PreviewFrame, PublicEvent, parse_preview
from efferent.gateway.streams.previews import FINISHED_MAX, PreviewHold


def preview(after: int, event_id: str, starts: str | None = None) -> PreviewFrame:
    return PreviewFrame(after, None, event_id, starts, event_id.encode())


def event(sequence: int, event_type: str, event_id: str = "sevt_x", thread: str | None = None) -> PublicEvent:
    return PublicEvent(Position(sequence, 0), thread, event_type, event_id, "", b"{}")


def test_a_preview_goes_out_at_once_when_its_record_has_passed() -> None:
    hold = PreviewHold()
    hold.record_passed(7, ())
    assert hold.arrive(preview(7, "a"))


def test_previews_wait_for_their_record_and_keep_their_order() -> None:
    hold = PreviewHold()
    hold.record_passed(6, ())
    assert not hold.arrive(preview(7, "a", "agent.message"))
    assert not hold.arrive(preview(7, "a"))
    assert [item.starts for item in hold.record_passed(7, ())] == ["agent.message", None]


def test_a_preview_never_overtakes_one_that_waits() -> None:
    hold = PreviewHold()
    hold.record_passed(6, ())
    hold.arrive(preview(8, "b"))
    assert not hold.arrive(preview(6, "a"))


def test_a_preview_is_dropped_after_its_final_event() -> None:
    hold = PreviewHold()
    hold.arrive(preview(7, "a"))
    assert not hold.record_passed(7, [event(7, "agent.message", "a")])
    assert not hold.arrive(preview(7, "a"))


def test_a_preview_is_dropped_after_its_request_has_ended() -> None:
    hold = PreviewHold()
    hold.record_passed(8, [event(8, "span.model_request_end")])
    assert not hold.arrive(preview(7, "a"))
    assert hold.arrive(preview(8, "b"))


def test_the_end_of_a_request_of_another_thread_drops_nothing() -> None:
    hold = PreviewHold()
    hold.record_passed(8, [event(8, "span.model_request_end", thread="sthr_child")])
    assert hold.arrive(preview(7, "a"))


def test_one_preview_too_many_drops_all_and_what_continues_them() -> None:
    hold = PreviewHold(held_max=3)
    for _ in range(3):
        assert not hold.arrive(preview(7, "a"))
    assert not hold.arrive(preview(7, "b"))
    assert not hold.record_passed(7, ())
    assert not hold.arrive(preview(7, "a"))
    assert not hold.arrive(preview(7, "b"))
    assert hold.arrive(preview(7, "c"))


def test_only_so_many_finished_events_are_remembered() -> None:
    hold = PreviewHold()
    hold.record_passed(7, [event(7, "agent.message", f"sevt_{index}") for index in range(FINISHED_MAX + 1)])
    assert not hold.arrive(preview(7, "sevt_1"))
    assert hold.arrive(preview(7, "sevt_0"))


def test_what_is_not_a_preview_is_ignored() -> None:
    assert parse_preview(b"nonsense") is None
    assert parse_preview(b'{"after":1}') is None
    assert parse_preview(b'{"after":"1","thread":null,"event":{"type":"event_delta","event_id":"a"}}') is None
    assert parse_preview(b'{"after":1,"thread":null,"event":{"type":"agent.message"}}') is None
