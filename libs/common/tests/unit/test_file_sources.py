"""Blocks whose content is a file: which files can be one, and what a model is shown of them."""

import base64
from typing import Any

import pytest

from efferent.common.domain.content import (
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    PlainTextSource,
    TextBlock,
)
from efferent.common.domain.context import Message, ToolResult
from efferent.common.domain.events import UserMessage
from efferent.common.domain.file_sources import (
    DOCUMENT_BYTES_MAX,
    IMAGE_BYTES_MAX,
    check_file,
    file_ids,
    filled,
    names_file,
)
from efferent.common.domain.ids import EventId, FileId
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.file import File
from efferent.common.domain.timestamp import Timestamp
from efferent.common.domain.transcript import EMPTY_TRANSCRIPT, Transcript, extend

AT = Timestamp("2026-01-01T00:00:00.000000Z")
SOURCE = FileSource(file_id="file_1")
IMAGE, DOCUMENT = ImageBlock(source=SOURCE), DocumentBlock(source=SOURCE)
TEXT = TextBlock(text="hi")


def stored(mime_type: str, size_bytes: int = 5) -> File:
    return File(
        id=FileId("file_1"),
        filename="notes.md",
        mime_type=mime_type,
        size_bytes=size_bytes,
        created_at=AT,
        downloadable=False,
        sha256="",
    )


@pytest.mark.parametrize(
    ("block", "mime_type", "size_bytes"),
    [
        (IMAGE, "image/png", IMAGE_BYTES_MAX),
        (IMAGE, "image/webp", 1),
        (DOCUMENT, "application/pdf", DOCUMENT_BYTES_MAX),
        (DOCUMENT, "text/plain; charset=utf-8", 1),
        (DOCUMENT, "text/markdown", 5),
        (DOCUMENT, "application/json", 5),
        (DOCUMENT, "application/ld+json", 5),
    ],
)
def test_files_that_a_model_can_be_shown(block: Any, mime_type: str, size_bytes: int) -> None:
    check_file(block, stored(mime_type, size_bytes))


@pytest.mark.parametrize(
    ("block", "mime_type", "size_bytes", "text"),
    [
        (IMAGE, "image/svg+xml", 5, "File file_1 is image/svg+xml; an image is one of image/jpeg"),
        (IMAGE, "application/pdf", 5, "File file_1 is application/pdf; an image is one of"),
        (DOCUMENT, "image/png", 5, "File file_1 is image/png; a document is application/pdf or text"),
        (DOCUMENT, "application/octet-stream", 5, "a document is application/pdf or text"),
        (IMAGE, "image/png", IMAGE_BYTES_MAX + 1, f"must have between 1 and {IMAGE_BYTES_MAX}"),
        (DOCUMENT, "application/pdf", DOCUMENT_BYTES_MAX + 1, f"must have between 1 and {DOCUMENT_BYTES_MAX}"),
        (DOCUMENT, "text/plain", 0, "has 0 bytes"),
    ],
)
def test_files_that_a_model_cannot_be_shown(block: Any, mime_type: str, size_bytes: int, text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_file(block, stored(mime_type, size_bytes))
    assert text in refused.value.message


def test_an_image_and_a_pdf_become_base64_and_text_stays_text() -> None:
    data = b"\x89bytes"
    encoded = base64.b64encode(data).decode()
    assert filled(IMAGE, stored("image/png"), data).source == Base64Source(media_type="image/png", data=encoded)
    pdf = filled(DOCUMENT.model_copy(update={"title": "T", "context": "C"}), stored("application/pdf"), data)
    assert pdf == DocumentBlock(source=Base64Source(media_type="application/pdf", data=encoded), title="T", context="C")
    text = filled(DOCUMENT, stored("text/markdown; charset=utf-8"), b"w\xc3\xb6rds \xff")
    assert text == DocumentBlock(source=PlainTextSource(data="wörds \ufffd"), title="notes.md")


def test_files_are_found_in_messages_and_in_results() -> None:
    result = ToolResult(EventId("sevt_1"), (TEXT, IMAGE, DOCUMENT), is_error=False)
    assert list(file_ids((TEXT, IMAGE, result))) == ["file_1"] * 3
    assert (names_file(IMAGE), names_file(result), names_file(TEXT)) == (True, True, False)
    assert not names_file(ToolResult(EventId("sevt_1"), (TEXT,), is_error=False))


def test_a_transcript_knows_whether_it_names_files() -> None:
    without = extend(EMPTY_TRANSCRIPT, UserMessage(id=EventId("sevt_1"), content=(TEXT,), processed_at=AT))
    with_file = extend(without, UserMessage(id=EventId("sevt_2"), content=(DOCUMENT,), processed_at=AT))
    later = extend(with_file, UserMessage(id=EventId("sevt_3"), content=(TEXT,), processed_at=AT))
    assert (without.has_files, with_file.has_files, later.has_files) == (False, True, True)
    assert Transcript.of(later.messages).has_files
    assert not Transcript.of((Message("user", (TEXT,)),)).has_files
