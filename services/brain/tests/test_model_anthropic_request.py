"""Requests to the Messages API as bytes: turns, cache marks, thinking, and what is kept between requests."""

from typing import Any

import orjson
import pytest

from efferent.brain.adapters.anthropic_request import BINDING_BETA, FAST_BETA, RequestEncoder
from efferent.brain.ports import ModelRequest
from efferent.common.domain.content import (
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    PlainTextSource,
    RedactedBlock,
    SearchResultBlock,
    SearchResultCitations,
    SearchResultText,
    TextBlock,
)
from efferent.common.domain.context import Message, Thought, ToolResult
from efferent.common.domain.ids import EventId
from efferent.common.domain.model_catalog import traits_of
from efferent.common.domain.resources.agent import ModelConfig
from tests.support.scripted_model.asking import BASH, ask, assistant, call, result, system, user

MARK = {"type": "ephemeral"}


def body_of(request: ModelRequest, encoder: RequestEncoder | None = None) -> Any:
    encoded = (encoder or RequestEncoder()).encode(request, request.model.id, traits_of(request.model.id))
    return orjson.loads(encoded.body)


def turns_of(*messages: Message, model: str = "claude-opus-5") -> list[tuple[str, list[Any]]]:
    """Roles and blocks of the encoded messages, without cache marks."""
    turns = body_of(ask(*messages, model=model))["messages"]
    for turn in turns:
        for block in turn["content"]:
            block.pop("cache_control", None)
    return [(turn["role"], turn["content"]) for turn in turns]


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def test_head_carries_model_limits_effort_and_adaptive_thinking() -> None:
    body = body_of(ask(user("hi"), effort="xhigh"))
    assert body["model"] == "claude-opus-5"
    assert body["max_tokens"] == 128_000
    assert body["stream"] is True
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": "xhigh"}
    assert "system" not in body
    assert "tools" not in body


def test_effort_that_the_model_does_not_know_becomes_the_next_lower() -> None:
    assert body_of(ask(user("hi"), model="claude-opus-4-6", effort="xhigh"))["output_config"] == {"effort": "high"}


def test_model_with_bound_thinking_is_asked_to_drop_it_rather_than_to_refuse() -> None:
    request = ask(user("hi"), model="claude-opus-5-5")
    encoded = RequestEncoder().encode(request, "claude-opus-5-5", traits_of("claude-opus-5-5"))
    assert orjson.loads(encoded.body)["thinking"]["block_binding"] == {"prefix_mismatch_behavior": "drop_block"}
    assert encoded.betas == (BINDING_BETA,)


def test_older_model_thinks_by_budget_and_takes_no_effort() -> None:
    body = body_of(ask(user("hi"), model="claude-haiku-4-5", effort="low"))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 4_096}
    assert "output_config" not in body


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-4-5"])
def test_older_model_does_not_think_about_calls_made_without_thinking(model: str) -> None:
    calling = user("go"), assistant(call("sevt_1")), user(result("sevt_1"))
    assert "thinking" not in body_of(ask(*calling, model=model))
    thought = Thought(model, "hm", "sig", None)
    thoughtful = user("go"), assistant(thought, call("sevt_1")), user(result("sevt_1"))
    assert body_of(ask(*thoughtful, model=model))["thinking"]["type"] == "enabled"


def test_unknown_model_is_told_nothing_about_thinking() -> None:
    body = body_of(ask(user("hi"), model="some-house-model"))
    assert "thinking" not in body
    assert "output_config" not in body


def test_fast_speed_is_sent_with_its_beta() -> None:
    request = ModelRequest(ModelConfig(id="claude-opus-5", speed="fast"), "", (), (user("hi"),))
    encoded = RequestEncoder().encode(request, "claude-opus-5", traits_of("claude-opus-5"))
    assert orjson.loads(encoded.body)["speed"] == "fast"
    assert encoded.betas == (FAST_BETA,)


def test_cache_marks_stand_on_last_tool_system_and_last_two_user_turns() -> None:
    turns = user("one"), assistant("a"), user("two"), assistant("b"), user("three", "four")
    body = body_of(ask(*turns, system_prompt="Be kind.", tools=[BASH, BASH]))
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, MARK]
    assert body["system"] == [{"type": "text", "text": "Be kind.", "cache_control": MARK}]
    marks = [[block.get("cache_control") for block in turn["content"]] for turn in body["messages"]]
    assert marks == [[None], [None], [MARK], [None], [None, MARK]]


def test_neighbours_of_one_role_become_one_turn() -> None:
    assert turns_of(user("a"), user("b"), assistant("c"), assistant("d"), user("e")) == [
        ("user", [text("a"), text("b")]),
        ("assistant", [text("c"), text("d")]),
        ("user", [text("e")]),
    ]


def test_tool_results_come_before_text_steered_in() -> None:
    turns = turns_of(user("go"), assistant(call("sevt_1", command="ls")), user("also this"), user(result("sevt_1")))
    assert turns[1] == (
        "assistant",
        [{"type": "tool_use", "id": "sevt_1", "name": "bash", "input": {"command": "ls"}}],
    )
    assert turns[2] == (
        "user",
        [{"type": "tool_result", "tool_use_id": "sevt_1", "content": [text("ok")]}, text("also this")],
    )


def test_system_message_follows_the_users_turn_where_the_model_takes_it() -> None:
    turns = turns_of(user("a"), system("Speak Latin."), user("b"), assistant("c"), user("d"), system("And Greek."))
    assert turns == [
        ("user", [text("a"), text("b")]),
        ("system", [text("Speak Latin.")]),
        ("assistant", [text("c")]),
        ("user", [text("d")]),
        ("system", [text("And Greek.")]),
    ]


def test_system_message_alone_or_for_another_model_becomes_marked_text_of_the_user() -> None:
    folded = text("<system-message>\nSpeak Latin.\n</system-message>")
    assert turns_of(user("a"), system("Speak Latin."), model="claude-sonnet-5") == [("user", [text("a"), folded])]
    assert turns_of(user("a"), assistant("b"), system("Speak Latin."))[-1] == ("user", [folded])


def test_thinking_is_shown_to_its_own_family_only() -> None:
    history = (
        user("a"),
        assistant(Thought("claude-opus-5", "hm", "sig", None), Thought("claude-opus-5", "", None, "blob"), "b"),
        user("c"),
    )
    shown = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "blob"},
        text("b"),
    ]
    assert turns_of(*history)[1] == ("assistant", shown)
    assert turns_of(*history, model="claude-opus-4-8")[1] == ("assistant", shown)
    assert turns_of(*history, model="claude-sonnet-5-5")[1] == ("assistant", [text("b")])


def test_unsigned_thinking_and_blank_text_are_left_out() -> None:
    assert turns_of(user("a"), assistant(Thought("claude-opus-5", "hm", None, None), " \n"), user("b")) == [
        ("user", [text("a"), text("b")])
    ]


def test_conversation_begins_and_ends_with_the_user() -> None:
    nudge = ("user", [text("Continue.")])
    assert turns_of() == [nudge]
    assert turns_of(assistant("a"), user("b"))[0] == nudge
    assert turns_of(user("a"), assistant("b"))[-1] == nudge


def test_media_results_and_withheld_content() -> None:
    image = ImageBlock(source=Base64Source(media_type="image/png", data="aGk="))
    document = DocumentBlock(source=PlainTextSource(data="words"), title="T")
    found = SearchResultBlock(
        source="https://example.com",
        title="S",
        content=(SearchResultText(text="passage"),),
        citations=SearchResultCitations(enabled=True),
    )
    given = ToolResult(EventId("sevt_1"), (image, document, found, TextBlock(text=" ")), True)
    history = user(image, RedactedBlock()), assistant(call("sevt_1")), user(given, ToolResult(EventId("x"), (), True))
    (_, first), _, (_, second) = turns_of(*history)
    assert first[0] == {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    assert first[1] == text("[content withheld]")
    assert second[0]["is_error"] is True
    assert [block["type"] for block in second[0]["content"]] == ["image", "document", "search_result"]
    assert second[0]["content"][1] == {
        "type": "document",
        "title": "T",
        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
    }
    assert second[1]["content"] == [text("(no output)")]


def test_file_that_was_not_resolved_is_named_in_words() -> None:
    turns = turns_of(user(ImageBlock(source=FileSource(file_id="file_1"))))
    assert turns == [("user", [text("[the image file_1 could not be loaded]")])]


def conversation(length: int) -> tuple[Message, ...]:
    history: list[Message] = []
    for index in range(length):
        match index % 5:
            case 0:
                history += [user(f"question {index}"), system(f"rule {index}")]
            case 1:
                history.append(assistant(Thought("claude-opus-5", "hm", f"s{index}", None), call(f"sevt_{index}")))
            case 2:
                history.append(user(result(f"sevt_{index - 1}", "x" * 50)))
            case 3:
                history.append(assistant(f"answer {index}"))
            case _:
                history.append(assistant(" "))  # nothing to send: its neighbours meet
    return tuple(history)


def test_request_built_on_what_was_kept_is_byte_for_byte_the_same() -> None:
    history, kept = conversation(400), RequestEncoder()
    traits = traits_of("claude-opus-5")
    for length in range(0, len(history) + 1, 3):
        request = ask(*history[:length])
        assert kept.encode(request, "m", traits).body == RequestEncoder().encode(request, "m", traits).body


def test_history_that_was_changed_or_is_read_by_another_model_is_encoded_anew() -> None:
    history, kept = conversation(40), RequestEncoder()
    body_of(ask(*history), kept)
    changed = (*history[:3], user("something else"), *history[4:])
    compacted = (user("summary"), *history[20:])
    for request in (ask(*changed), ask(*compacted), ask(*history, model="claude-sonnet-5"), ask(*history[:10])):
        assert body_of(request, kept) == body_of(request)


def test_what_is_kept_stays_below_its_limit() -> None:
    kept = RequestEncoder(kept_bytes_max=20_000)
    histories = [conversation(100) for _ in range(10)]
    for history in histories:
        body_of(ask(*history), kept)
        assert kept.kept_bytes <= 20_000
    assert body_of(ask(*histories[0]), kept) == body_of(ask(*histories[0]))


def test_long_history_is_sent_in_few_pieces() -> None:
    kept = RequestEncoder()
    history: list[Message] = []
    traits = traits_of("claude-opus-5")
    for index in range(300):
        history += [user(f"{index}" + "x" * 1_000), assistant("y" * 1_000)]
        kept.encode(ask(*history, user("now")), "m", traits)
    encoded = kept.encode(ask(*history, user("now")), "m", traits)
    assert len(encoded.pieces) < 20
    assert encoded.size == len(encoded.body) > 600_000
