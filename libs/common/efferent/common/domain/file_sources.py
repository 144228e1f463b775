"""Blocks whose content is a file of the Files API: which files can be one, and what a model is shown of them. Pure."""

import base64
from collections.abc import Iterable, Iterator
from typing import Final

from efferent.common.domain.content import (
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    PlainTextSource,
    RedactedBlock,
    SearchResultBlock,
    TextBlock,
)
from efferent.common.domain.context import Part, ToolResult
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.file import File

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF_TYPE: Final = "application/pdf"
IMAGE_BYTES_MAX: Final = 3_932_160
"""What 5 MiB of base64 hold: a larger image is refused by providers, and that would end the session."""
DOCUMENT_BYTES_MAX: Final = 20 * 1024 * 1024
SOURCES_MAX: Final = 100
"""Different files that the events of one request may name."""

_TEXT_TYPES: Final = frozenset(
    {"application/json", "application/toml", "application/x-ndjson", "application/xml", "application/yaml"}
)

Block = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | RedactedBlock


def file_of(block: Block | Part) -> FileSource | None:
    """The file that the block's content is; None for every other block."""
    if isinstance(block, ImageBlock | DocumentBlock) and isinstance(block.source, FileSource):
        return block.source
    return None


def names_file(part: Part) -> bool:
    """Whether a part of a message has to be filled from a file before a model sees it."""
    return any(file_of(block) is not None for block in _blocks(part))


def file_ids(parts: Iterable[Part]) -> Iterator[str]:
    """The files that parts of a message name, in order, with repetitions."""
    for part in parts:
        for block in _blocks(part):
            if (source := file_of(block)) is not None:
                yield source.file_id


def check_file(block: Block, file: File) -> None:
    """Raise InvalidRequest when a model cannot be shown this file in this block."""
    media_type = _plain(file.mime_type)
    if isinstance(block, ImageBlock):
        if media_type not in IMAGE_TYPES:
            raise InvalidRequest(f"File {file.id} is {media_type}; an image is one of {', '.join(IMAGE_TYPES)}")
        bytes_max = IMAGE_BYTES_MAX
    else:
        if media_type != PDF_TYPE and not _is_text(media_type):
            raise InvalidRequest(f"File {file.id} is {media_type}; a document is {PDF_TYPE} or text")
        bytes_max = DOCUMENT_BYTES_MAX
    if not 0 < file.size_bytes <= bytes_max:
        raise InvalidRequest(f"File {file.id} has {file.size_bytes} bytes; it must have between 1 and {bytes_max}")


def filled(block: ImageBlock | DocumentBlock, file: File, data: bytes) -> ImageBlock | DocumentBlock:
    """The block with the file's bytes in it. A document without a title is called as its file."""
    media_type = _plain(file.mime_type)
    if isinstance(block, DocumentBlock) and media_type != PDF_TYPE:
        text = PlainTextSource(data=data.decode(errors="replace"))
        return block.model_copy(update={"source": text, "title": block.title or file.filename})
    source = Base64Source(media_type=media_type, data=base64.b64encode(data).decode())
    if isinstance(block, ImageBlock):
        return block.model_copy(update={"source": source})
    return block.model_copy(update={"source": source, "title": block.title or file.filename})


def _blocks(part: Part) -> tuple[Block | Part, ...]:
    return part.content if isinstance(part, ToolResult) else (part,)


def _plain(mime_type: str) -> str:
    return mime_type.partition(";")[0].strip().lower()


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml"))
