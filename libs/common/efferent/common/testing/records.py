"""Small valid records for tests that do not care what is in them."""

from efferent.common.domain import ids
from efferent.common.domain.content import TextBlock
from efferent.common.domain.events.user import UserMessage
from efferent.common.domain.record import Entry, Record
from efferent.common.ports import IdSource


def new_session_id(source: IdSource) -> ids.SessionId:
    """A session that no other test uses, as long as their sources do not."""
    return ids.SessionId(ids.from_seed("sesn_", source.seed()))


def message_record(source: IdSource, text: str = "hello") -> Record:
    """A record of one ``user.message``."""
    seed = source.seed()
    message = UserMessage(id=ids.EventId(ids.from_seed("sevt_", seed)), content=(TextBlock(text=text),))
    return Record(id=ids.RecordId(ids.from_seed("rec_", seed)), entries=(Entry(event=message),))


def text_of(record: Record) -> str:
    """The text of a record made by ``message_record``."""
    event = record.entries[0].event
    assert isinstance(event, UserMessage)
    block = event.content[0]
    assert isinstance(block, TextBlock)
    return block.text
