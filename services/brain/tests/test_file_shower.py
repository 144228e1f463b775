"""What models see of files that messages name: their content while they are there, a note when they are not."""

import pytest

from efferent.brain.file_shower import REQUEST_FILES_MAX, FileShower
from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.log_sets import LogSets
from efferent.common.domain.commands import MessageDraft
from efferent.common.domain.content import DocumentBlock, FileSource, ImageBlock, PlainTextSource, TextBlock
from efferent.common.domain.context import Message, Part, ToolResult
from efferent.common.domain.ids import EventId, WorkspaceId
from efferent.common.domain.react import pending
from efferent.common.domain.resources.file import File
from efferent.common.domain.state import Idle, Running
from efferent.common.files.store import FileStore
from efferent.common.runtime.clock import SystemClock
from efferent.common.runtime.metrics import Metrics
from efferent.common.testing.in_memory_blobs import InMemoryBlobs
from efferent.common.testing.in_memory_log import InMemoryControlLog
from efferent.common.testing.in_memory_stream import InMemoryStream
from efferent.common.testing.seeds import CountedSeeds
from libs.common.tests.files.chunked import chunked
from tests.support.brain_stage import Stage

WORKSPACE = WorkspaceId("wrkspc_1")
TEXT = TextBlock(text="hi")


class Shelf:
    """Files in memory, and how often their bytes were read."""

    def __init__(self) -> None:
        self.blobs = InMemoryBlobs()
        log = InMemoryControlLog(InMemoryStream())
        aggregates = Aggregates(log, LogSets(log), SystemClock(), Metrics(), write_deadline_s=5)
        self.files = FileStore(aggregates, self.blobs, SystemClock(), CountedSeeds())

    async def put(self, text: str, name: str = "a.txt") -> File:
        return await put(self.files, text, name)


async def put(files: FileStore, text: str, name: str = "a.txt") -> File:
    stored = await files.receive(chunked(text.encode()))
    return await files.upload(Actor(WORKSPACE), stored, filename=name, mime_type=None)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def document(file: File) -> DocumentBlock:
    return DocumentBlock(source=FileSource(file_id=file.id))


def user(*parts: Part) -> Message:
    return Message("user", parts)


def texts(messages: tuple[Message, ...]) -> list[str]:
    """What each part says, documents by their content."""
    return [
        part.text
        if isinstance(part, TextBlock)
        else part.source.data
        if isinstance(part, DocumentBlock) and isinstance(part.source, PlainTextSource)
        else type(part).__name__
        for message in messages
        for part in message.parts
    ]


async def test_files_take_the_place_of_their_names(shelf: Shelf) -> None:
    file, image = await shelf.put("words"), await shelf.put("pixels", "a.png")
    plain = user(TEXT)
    result = ToolResult(EventId("sevt_1"), (document(file), TEXT), is_error=False)
    history = (plain, user(document(file), TEXT), user(ImageBlock(source=FileSource(file_id=image.id)), result))
    shown = await FileShower(shelf.files).shown(WORKSPACE, history)
    assert shown[0] is plain, "what names no file is passed on as it is"
    assert texts(shown[1:2]) == ["words", "hi"]
    picture, answer = shown[2].parts
    assert isinstance(picture, ImageBlock)
    assert picture.source.type == "base64"
    assert isinstance(answer, ToolResult)
    assert answer.content == (
        DocumentBlock(source=PlainTextSource(data="words"), title="a.txt"),
        TEXT,
    )


async def test_a_message_is_filled_once_and_again_when_its_file_was_deleted(shelf: Shelf) -> None:
    file = await shelf.put("words")
    history, shower = (user(document(file)),), FileShower(shelf.files)
    (first,) = await shower.shown(WORKSPACE, history)
    (second,) = await shower.shown(WORKSPACE, history)
    assert first is second, "adapters know messages by identity"
    await shelf.files.delete(Actor(WORKSPACE), file.id)
    (third,) = await shower.shown(WORKSPACE, history)
    assert texts((third,)) == [f"[the document {file.id} is not shown: it was deleted, or the files are too much]"]
    assert (await shower.shown(WORKSPACE, history))[0] is third


async def test_files_of_another_workspace_and_bytes_that_are_gone_are_not_shown(shelf: Shelf) -> None:
    file = await shelf.put("words")
    (other,) = await FileShower(shelf.files).shown(WorkspaceId("wrkspc_2"), (user(document(file)),))
    assert "is not shown" in texts((other,))[0]
    await shelf.blobs.delete(file.blob_prefix)
    (gone,) = await FileShower(shelf.files).shown(WORKSPACE, (user(document(file)),))
    assert "is not shown" in texts((gone,))[0]


async def test_one_request_shows_the_newest_files_that_fit_into_it(shelf: Shelf) -> None:
    old, new = await shelf.put("old words"), await shelf.put("new words")
    history = (user(document(old)), user(document(new), document(new)))
    shown = await FileShower(shelf.files, request_bytes_max=27).shown(WORKSPACE, history)
    assert texts(shown) == ["old words", "new words", "new words"]
    shown = await FileShower(shelf.files, request_bytes_max=26).shown(WORKSPACE, history)
    assert texts(shown)[1:] == ["new words", "new words"]
    assert "is not shown" in texts(shown)[0]


async def test_one_request_shows_only_so_many_files(shelf: Shelf) -> None:
    files = [await shelf.put(f"{number}") for number in range(REQUEST_FILES_MAX + 1)]
    shown = texts(await FileShower(shelf.files).shown(WORKSPACE, [user(document(file)) for file in files]))
    assert "is not shown" in shown[0]
    assert shown[1:] == [f"{number}" for number in range(1, REQUEST_FILES_MAX + 1)]


async def test_what_is_kept_has_a_limit(shelf: Shelf) -> None:
    first, second = [user(document(await shelf.put(text))) for text in ("12345", "67890")]
    shower = FileShower(shelf.files, kept_bytes_max=9)
    before = await shower.shown(WORKSPACE, (first,))
    assert (await shower.shown(WORKSPACE, (first,)))[0] is before[0]
    await shower.shown(WORKSPACE, (second,))
    assert (await shower.shown(WORKSPACE, (first,)))[0] is not before[0], "the second took its place"


async def test_a_model_is_asked_with_the_files_of_the_conversation() -> None:
    stage = Stage()
    try:
        stage.brain()
        await stage.create()
        file = await put(stage.files, "words")
        await stage.send(MessageDraft((document(file), TEXT)))
        stage.model.answer(TextBlock(text="done"))
        await stage.until(lambda state: isinstance(state.status, Idle) and not pending(state))
        (request,) = stage.model.requests
        assert texts(request.messages) == ["words", "hi"]
    finally:
        await stage.close()


async def test_files_that_cannot_be_read_now_are_a_failure_that_is_tried_again() -> None:
    stage = Stage()
    try:
        file = await put(stage.files, "words")
        stage.brain()
        await stage.create()
        stage.blobs.available = False
        await stage.send(MessageDraft((document(file),)))
        await stage.until(lambda state: isinstance(state.status, Running) and state.status.failures > 0)
        assert stage.model.requests == []
        stage.blobs.available = True
        stage.model.answer(TextBlock(text="done"))
        await stage.until(lambda state: isinstance(state.status, Idle) and not pending(state))
        (request,) = stage.model.requests
        assert texts(request.messages) == ["words"]
        assert "session.status_rescheduled" in await stage.types()
    finally:
        await stage.close()
