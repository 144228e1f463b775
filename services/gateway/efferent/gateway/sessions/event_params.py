"""Client events as requests carry them: their shapes, and the drafts that they become.

What an event means in the session's present state is the domain's business; here it is only whether it is well formed
and possible in this release.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from efferent.common.domain.commands import (
    ConfirmationDraft,
    CustomToolResultDraft,
    EventDraft,
    InterruptDraft,
    MessageDraft,
    SystemDraft,
    ToolResultDraft,
)
from efferent.common.domain.content import (
    Base64Source,
    DocumentBlock,
    FileSource,
    ImageBlock,
    MessageBlock,
    PlainTextSource,
    RedactedBlock,
    ResultBlock,
    SearchResultBlock,
    TextBlock,
    UrlSource,
)
from efferent.common.domain.file_sources import IMAGE_TYPES, PDF_TYPE
from efferent.common.domain.ids import EventId, ThreadId
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params, not_valid

EVENTS_MAX: Final = 1_000
"""Events of one request."""
INITIAL_EVENTS_MAX: Final = 50
BLOCKS_MAX: Final = 1_000
"""Content blocks of one event."""
FILE_DOCUMENTS_MAX: Final = 100
"""Document blocks with a file as their source in all initial events together."""

_NOT_AVAILABLE: Final = "is not available in this release"

MessageContent = Annotated[list[MessageBlock], Field(min_length=1, max_length=BLOCKS_MAX)]
ResultContent = Annotated[list[ResultBlock], Field(max_length=BLOCKS_MAX)]


class UserMessageParams(Params):
    """A user turn."""

    type: Literal["user.message"]
    content: MessageContent


class UserInterruptParams(Params):
    """Stop what is running."""

    type: Literal["user.interrupt"]
    session_thread_id: str | None = None


class UserToolConfirmationParams(Params):
    """Answer to a held tool call. The thread is the server's to know: older clients echo it, and it is ignored."""

    type: Literal["user.tool_confirmation"]
    tool_use_id: str
    result: Literal["allow", "deny"]
    deny_message: Annotated[str, Field(max_length=10_000)] | None = None
    session_thread_id: str | None = None


class UserCustomToolResultParams(Params):
    """Result of a tool that the client runs."""

    type: Literal["user.custom_tool_result"]
    custom_tool_use_id: str
    content: ResultContent | None = None
    is_error: bool | None = None
    session_thread_id: str | None = None


class UserToolResultParams(Params):
    """Result of a built-in tool that a self-hosted worker ran."""

    type: Literal["user.tool_result"]
    tool_use_id: str
    content: ResultContent | None = None
    is_error: bool | None = None
    session_thread_id: str | None = None


class TextRubricParams(Params):
    """A rubric given as text."""

    type: Literal["text"]
    content: Annotated[str, Field(max_length=262_144)]


class FileRubricParams(Params):
    """A rubric kept as a file."""

    type: Literal["file"]
    file_id: str


class UserDefineOutcomeParams(Params):
    """A goal with its rubric."""

    type: Literal["user.define_outcome"]
    description: str
    rubric: Annotated[TextRubricParams | FileRubricParams, Field(discriminator="type")]
    max_iterations: Annotated[int, Field(ge=1, le=20)] | None = None


class SystemMessageParams(Params):
    """Extra system text."""

    type: Literal["system.message"]
    content: Annotated[list[TextBlock], Field(min_length=1, max_length=BLOCKS_MAX)]


EventParams = Annotated[
    UserMessageParams
    | UserInterruptParams
    | UserToolConfirmationParams
    | UserCustomToolResultParams
    | UserToolResultParams
    | UserDefineOutcomeParams
    | SystemMessageParams,
    Field(discriminator="type"),
]


class SendEventsParams(Params):
    """``POST /v1/sessions/{id}/events``."""

    events: Annotated[list[EventParams], Field(min_length=1, max_length=EVENTS_MAX)]


def drafts(events: Sequence[EventParams]) -> tuple[EventDraft, ...]:
    """The events as the domain takes them. Raises InvalidRequest that names the place."""
    return tuple(draft_at(f"events[{index}]", event) for index, event in enumerate(events))


def initial_drafts(events: Sequence[EventParams]) -> tuple[EventDraft, ...]:
    """The initial events of a session as the domain takes them. Raises InvalidRequest that names the place."""
    check_file_documents(events)
    made = []
    for index, event in enumerate(events):
        path = f"initial_events[{index}]"
        if not isinstance(event, UserMessageParams | UserDefineOutcomeParams):
            allowed = ("user.message", "user.define_outcome")
            raise InvalidRequest(f"{path}.type: {not_valid(event.type, allowed)}")
        made.append(draft_at(path, event))
    return tuple(made)


def check_file_documents(events: Sequence[EventParams]) -> None:
    """Raise InvalidRequest when too many documents of a session's first events come from files."""
    blocks = [block for event in events if isinstance(event, UserMessageParams) for block in event.content]
    files = sum(isinstance(block, DocumentBlock) and isinstance(block.source, FileSource) for block in blocks)
    if files > FILE_DOCUMENTS_MAX:
        raise InvalidRequest(f"initial_events: at most {FILE_DOCUMENTS_MAX} document blocks may come from files")


def draft_at(path: str, event: EventParams) -> EventDraft:
    """The event as the domain takes it. Raises InvalidRequest that names the place."""
    match event:
        case UserMessageParams():
            return MessageDraft(tuple(_checked(path, event.content)))
        case UserInterruptParams():
            thread = event.session_thread_id
            return InterruptDraft(ThreadId(thread) if thread is not None else None)
        case UserToolConfirmationParams():
            if event.deny_message is not None and event.result != "deny":
                raise InvalidRequest(f'{path}.deny_message: only allowed when result is "deny"')
            return ConfirmationDraft(EventId(event.tool_use_id), event.result, event.deny_message)
        case UserCustomToolResultParams():
            content = tuple(_checked(path, event.content or ()))
            return CustomToolResultDraft(EventId(event.custom_tool_use_id), content, event.is_error)
        case UserToolResultParams():
            content = tuple(_checked(path, event.content or ()))
            return ToolResultDraft(EventId(event.tool_use_id), content, event.is_error)
        case UserDefineOutcomeParams():
            raise InvalidRequest(f"{path}: user.define_outcome {_NOT_AVAILABLE}")
        case SystemMessageParams():
            return SystemDraft(tuple(event.content))


def _checked[B: TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | RedactedBlock](
    path: str, content: Sequence[B]
) -> Sequence[B]:
    """The content, when every block of it may come from a client."""
    for index, block in enumerate(content):
        at = f"{path}.content[{index}]"
        match block:
            case RedactedBlock():
                raise InvalidRequest(f"{at}: redacted content cannot be sent")
            case ImageBlock(source=source):
                _check_source(f"{at}.source", source, IMAGE_TYPES)
            case DocumentBlock(source=source):
                _check_source(f"{at}.source", source, (PDF_TYPE,))
            case TextBlock() | SearchResultBlock():
                pass
    return content


def _check_source(
    path: str, source: Base64Source | UrlSource | FileSource | PlainTextSource, media_types: Sequence[str]
) -> None:
    match source:
        case Base64Source(media_type=media_type, data=data):
            if media_type not in media_types:
                raise InvalidRequest(f"{path}.media_type: {not_valid(media_type, media_types)}")
            try:
                base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                raise InvalidRequest(f"{path}.data: not valid base64") from None
        case UrlSource(url=url):
            if not url.startswith(("https://", "http://")):
                raise InvalidRequest(f"{path}.url: must be an http or https URL")
        case PlainTextSource() | FileSource():  # files are looked up by whoever takes the events in
            pass
