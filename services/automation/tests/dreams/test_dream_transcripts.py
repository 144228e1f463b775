"""What a dream is told of the sessions that it reads, and that it is never more than fits."""

from hypothesis import given
from hypothesis import strategies as st

from efferent.automation.dreams.session import LENGTH_PER_TOKEN, TRANSCRIPTS_LENGTH_MAX, creation
from efferent.automation.dreams.transcript import ENTRY_LENGTH_MAX, LEFT_OUT, fitted, shortened, transcript
from efferent.common.domain.commands import MessageDraft
from efferent.common.domain.content import TextBlock
from efferent.common.domain.control import dream as rules
from efferent.common.domain.control.dream import CreateDream
from efferent.common.domain.ids import DreamId, MemoryStoreId, WorkspaceId
from efferent.common.domain.model_catalog import ModelTraits
from efferent.common.domain.resources.dream import Dream, DreamModel
from efferent.common.domain.resources.memory import MemoryStore
from efferent.common.domain.timestamp import Timestamp
from efferent.common.testing.specification import Story, call, custom_tool, message, say, toolset

NOW = Timestamp("2026-01-01T00:00:00Z")


def dream(instructions: str | None = None) -> Dream:
    command = CreateDream(DreamId("drm_1"), "memstore_1", ("sesn_1",), DreamModel(id="m"), instructions)
    change = rules.decide(None, command, NOW)
    assert change is not None
    return change.data


def asked(text: str) -> Story:
    """A session whose first message was taken in."""
    story = Story().create(message(text))
    story.claim()
    return story


def task(transcripts: dict[str, str], *, window: int = 1_000_000, instructions: str | None = None) -> str:
    """The message that the dreaming session begins with."""
    output = MemoryStore(id=MemoryStoreId("memstore_1"), name="My Notes", created_at=NOW, updated_at=NOW)
    traits = ModelTraits("m", "M", context_window=window)
    command = creation(WorkspaceId("wrkspc_1"), dream(instructions), output, transcripts, traits)
    (first,) = command.initial_events
    assert isinstance(first, MessageDraft)
    (block,) = first.content
    assert isinstance(block, TextBlock)
    return block.text


def test_a_transcript_says_who_said_and_did_what() -> None:
    story = Story([toolset(), custom_tool("ask_human")]).create(message("What is here?"))
    story.claim()
    story.reply(say("I look."), call("bash", command="ls"))
    story.result(story.state.calls[0].id, "a.txt")
    story.reply(call("ask_human", question="This one?"))
    story.answer(story.state.calls[0].id, "Yes.")
    assert transcript(story.records).splitlines() == [
        "user: What is here?",
        "agent: I look.",
        'call of bash: {"command":"ls"}',
        "result: a.txt",
        'call of ask_human: {"question":"This one?"}',
        "result: Yes.",
    ]


def test_of_a_long_event_the_beginning_and_the_end_are_told() -> None:
    told = transcript(asked("a" * ENTRY_LENGTH_MAX + "b").records)
    assert len(told) == len("user: ") + ENTRY_LENGTH_MAX
    assert told.startswith("user: aaa")
    assert told.endswith("ab")
    assert LEFT_OUT in told
    whole = transcript(asked("a" * ENTRY_LENGTH_MAX).records)
    assert LEFT_OUT not in whole


@given(st.text(), st.integers(0, 30))
def test_a_shortened_text_is_never_longer_than_it_may(text: str, length_max: int) -> None:
    assert len(shortened(text, length_max)) == min(len(text), length_max)


@given(st.lists(st.text(max_size=60), max_size=8), st.integers(0, 200))
def test_transcripts_fit_together_and_short_ones_are_whole(texts: list[str], length_max: int) -> None:
    cut = fitted(texts, length_max)
    assert sum(map(len, cut)) <= length_max
    assert len(cut) == len(texts)
    share = length_max // len(texts) if texts else 0
    assert all(kept == text for kept, text in zip(cut, texts, strict=True) if len(text) <= share)


def test_the_task_names_the_folder_the_sessions_and_what_matters() -> None:
    text = task({"sesn_1": "user: one", "sesn_2": "user: two"}, instructions="Mind the tea.")
    assert "/mnt/memory/my-notes" in text
    assert "What matters most this time:\nMind the tea." in text
    assert text.index('<transcript session="sesn_1">\nuser: one') < text.index('<transcript session="sesn_2">')


def test_all_transcripts_take_at_most_half_of_the_window_and_so_many_characters() -> None:
    long = {"sesn_1": "x" * (TRANSCRIPTS_LENGTH_MAX + 1)}
    assert task(long).count("x") < TRANSCRIPTS_LENGTH_MAX
    assert task(long).count("x") > TRANSCRIPTS_LENGTH_MAX - 100
    assert task(long, window=1_000).count("x") <= 1_000 * LENGTH_PER_TOKEN


def test_the_session_asks_nobody_and_reaches_nothing() -> None:
    output = MemoryStore(id=MemoryStoreId("memstore_1"), name="n", created_at=NOW, updated_at=NOW)
    command = creation(WorkspaceId("wrkspc_1"), dream(), output, {}, ModelTraits("m", "M"))
    (tools,) = command.agent.tools
    assert tools.type == "agent_toolset_20260401"
    assert tools.default_config.permission_policy.type == "always_allow"
    assert {config.name for config in tools.configs if not config.enabled} == {"web_fetch", "web_search"}
    assert command.environment_config.type == "cloud"
    assert command.environment_config.networking.type == "limited"
    (store,) = command.resources
    assert store.mount_path == "/mnt/memory/n"
