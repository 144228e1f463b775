"""Content blocks of messages and tool results, in the API's own shape."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Shape(BaseModel):
    """Base of every persisted API shape: immutable, and closed so that a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base64Source(Shape):
    """Bytes sent inline."""

    type: Literal["base64"] = "base64"
    media_type: str
    data: str


class UrlSource(Shape):
    """Bytes that the model provider fetches."""

    type: Literal["url"] = "url"
    url: str


class FileSource(Shape):
    """A file of the Files API."""

    type: Literal["file"] = "file"
    file_id: str


class PlainTextSource(Shape):
    """A document given as text."""

    type: Literal["text"] = "text"
    media_type: Literal["text/plain"] = "text/plain"
    data: str


class TextBlock(Shape):
    """Plain text."""

    type: Literal["text"] = "text"
    text: str


class ImageBlock(Shape):
    """An image."""

    type: Literal["image"] = "image"
    source: Annotated[Base64Source | UrlSource | FileSource, Field(discriminator="type")]


class DocumentBlock(Shape):
    """A document (PDF or text)."""

    type: Literal["document"] = "document"
    source: Annotated[Base64Source | PlainTextSource | UrlSource | FileSource, Field(discriminator="type")]
    title: str | None = None
    context: str | None = None


class SearchResultText(Shape):
    """One passage of a search result."""

    type: Literal["text"] = "text"
    text: str


class SearchResultCitations(Shape):
    """Whether the passages may be cited."""

    enabled: bool


class SearchResultBlock(Shape):
    """A search result that a tool gave."""

    type: Literal["search_result"] = "search_result"
    source: str
    title: str
    content: tuple[SearchResultText, ...]
    citations: SearchResultCitations


class RedactedBlock(Shape):
    """Content withheld by the platform; clients may not send it."""

    type: Literal["redacted"] = "redacted"


MessageBlock = Annotated[TextBlock | ImageBlock | DocumentBlock | RedactedBlock, Field(discriminator="type")]
"""What a message of a user or of another thread may hold."""

AgentBlock = Annotated[TextBlock | RedactedBlock, Field(discriminator="type")]
"""What an ``agent.message`` holds."""

ResultBlock = Annotated[TextBlock | ImageBlock | DocumentBlock | SearchResultBlock, Field(discriminator="type")]
"""What a tool result may hold."""
