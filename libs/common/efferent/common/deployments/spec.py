"""The session that a deployment asks for."""

from collections.abc import Mapping, Sequence

from efferent.common.domain.attachments import FileSpec, MemoryStoreSpec, RepositorySpec, ResourceSpec
from efferent.common.domain.commands import EventDraft, MessageDraft, SystemDraft
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.deployment import (
    Deployment,
    FileConfig,
    InitialEvent,
    MemoryStoreConfig,
    MessageEvent,
    OutcomeEvent,
    RepositoryConfig,
    SystemEvent,
)
from efferent.common.session_creation import AgentChoice, SessionSpec


def spec_of(deployment: Deployment, tokens: Mapping[str, str]) -> SessionSpec:
    """What a session of this deployment is made from; ``tokens`` of its repositories by their index as text.

    Raises InvalidRequest for what no session can begin with.
    """
    return SessionSpec(
        agent=AgentChoice(deployment.agent.id, deployment.agent.version),
        environment_id=deployment.environment_id,
        vault_ids=deployment.vault_ids,
        resources=tuple(_resource(config, tokens.get(str(index))) for index, config in enumerate(deployment.resources)),
        budget=deployment.budget,
        deployment_id=deployment.id,
        initial_events=drafts_of(deployment.initial_events),
    )


def drafts_of(events: Sequence[InitialEvent]) -> tuple[EventDraft, ...]:
    """The events that a session begins with. Raises InvalidRequest for what no session can begin with."""
    return tuple(_draft(index, event) for index, event in enumerate(events))


def _resource(config: FileConfig | RepositoryConfig | MemoryStoreConfig, token: str | None) -> ResourceSpec:
    match config:
        case FileConfig():
            return FileSpec(config.file_id, config.mount_path)
        case RepositoryConfig():
            return RepositorySpec(config.url, token, config.mount_path, config.checkout)
        case MemoryStoreConfig():
            return MemoryStoreSpec(config.memory_store_id, config.access or "read_write", config.instructions)


def _draft(index: int, event: InitialEvent) -> EventDraft:
    match event:
        case MessageEvent():
            return MessageDraft(event.content)
        case SystemEvent():
            return SystemDraft(event.content)
        case OutcomeEvent():
            raise InvalidRequest(f"initial_events[{index}]: user.define_outcome is not available in this release")
