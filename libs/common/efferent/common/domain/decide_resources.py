"""Decisions on the resources of a live session: a file more, a file less, another token."""

from efferent.common.domain.attachments import attached, check_addition, check_rotation, find
from efferent.common.domain.commands import AddFile, RemoveResource, RotateRepositoryToken
from efferent.common.domain.decide_client import refuse_when_over
from efferent.common.domain.draft import Decision, Draft, Stamp
from efferent.common.domain.events import RepositoryTokensSealed, ResourceRemoved
from efferent.common.domain.refusals import Conflict, InvalidRequest
from efferent.common.domain.resources.session_resource import FileResource
from efferent.common.domain.state import SessionState


def add_file(state: SessionState, command: AddFile, stamp: Stamp) -> Decision:
    """Attach another file; the sandbox has it before its next call. Raises InvalidRequest."""
    refuse_when_over(state)
    check_addition(state, command.file.mount_path)
    draft = Draft(state, stamp)
    draft.add(lambda id, at: attached(command.file, id, at))
    return draft.decision()


def remove_resource(state: SessionState, command: RemoveResource, stamp: Stamp) -> Decision:
    """Take a file away again. Raises NotFound, InvalidRequest."""
    refuse_when_over(state)
    resource = find(state.resources, command.resource_id).resource
    if not isinstance(resource, FileResource):
        raise InvalidRequest(
            f"{resource.type} resources cannot be removed; they stay attached as long as the session lives"
        )
    draft = Draft(state, stamp)
    draft.add(lambda id, at: ResourceRemoved(id=id, resource_id=command.resource_id, processed_at=at))
    return draft.decision()


def tokens_moved() -> Conflict:
    """The refusal when somebody else was quicker."""
    return Conflict("Another token of this session was rotated at the same time. Please retry.")


def rotate_token(state: SessionState, command: RotateRepositoryToken, stamp: Stamp) -> Decision:
    """Use another token for a repository. Raises NotFound, InvalidRequest, Conflict."""
    refuse_when_over(state)
    check_rotation(state, command.resource_id)
    if state.sealed_tokens != command.replaces:
        raise tokens_moved()
    draft = Draft(state, stamp)
    draft.add(
        lambda id, at: RepositoryTokensSealed(
            id=id, sealed=command.sealed, rotated=command.resource_id, processed_at=at
        )
    )
    return draft.decision()
