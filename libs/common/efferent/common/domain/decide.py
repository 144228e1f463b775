"""``decide``: what a command makes true, or why it is refused. Pure: time and randomness come in with the stamp."""

from efferent.common.domain.commands import (
    AddFile,
    ArchiveSession,
    ArchiveThread,
    ClaimTurn,
    Command,
    CreateSession,
    DeleteSession,
    RecordCompaction,
    RecordFailure,
    RecordReply,
    RecordToolResult,
    RemoveResource,
    RotateRepositoryToken,
    SendEvents,
    StartRequest,
    TakeQueuedInput,
    UpdateSession,
)
from efferent.common.domain.decide_client import archive, archive_thread, create, delete, send, update
from efferent.common.domain.decide_resources import add_file, remove_resource, rotate_token
from efferent.common.domain.decide_turn import (
    claim_turn,
    record_compaction,
    record_failure,
    record_reply,
    record_tool_result,
    start_request,
    take_queued_input,
)
from efferent.common.domain.draft import Decision, Stamp
from efferent.common.domain.refusals import InvalidRequest, NotFound
from efferent.common.domain.state import SessionState


def decide(state: SessionState | None, command: Command, stamp: Stamp) -> Decision:
    """Decide one command on a state that was fully seen. Raises Refused."""
    if isinstance(command, CreateSession):
        if state is not None:
            raise InvalidRequest(f"session {command.session_id} exists")
        return create(command, stamp)
    if state is None or state.deleted:
        raise NotFound("Session not found.")
    match command:
        case SendEvents():
            return send(state, command, stamp)
        case UpdateSession():
            return update(state, command, stamp)
        case ArchiveSession():
            return archive(state, stamp)
        case DeleteSession():
            return delete(state, stamp)
        case ArchiveThread():
            return archive_thread(state, command, stamp)
        case AddFile():
            return add_file(state, command, stamp)
        case RemoveResource():
            return remove_resource(state, command, stamp)
        case RotateRepositoryToken():
            return rotate_token(state, command, stamp)
        case ClaimTurn():
            return claim_turn(state, command, stamp)
        case TakeQueuedInput():
            return take_queued_input(state, command, stamp)
        case StartRequest():
            return start_request(state, command, stamp)
        case RecordReply():
            return record_reply(state, command, stamp)
        case RecordFailure():
            return record_failure(state, command, stamp)
        case RecordToolResult():
            return record_tool_result(state, command, stamp)
        case RecordCompaction():
            return record_compaction(state, command, stamp)
