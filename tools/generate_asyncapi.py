"""Writes docs/asyncapi.json: every subject and the shape of what travels on it. ``--check`` only compares.

FastStream writes the document from a broker that is never connected: its publishers are the project's own subjects with
the models that their codecs write, its subscribers the automation's own subscriptions. A stream of the project that has
no subject here is an error.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from faststream.nats import JStream, NatsBroker
from faststream.specification import AsyncAPI
from pydantic import BaseModel, SecretStr, create_model

from efferent.automation.app import reactors
from efferent.automation.reactor import Desk
from efferent.automation.settings import AutomationSettings
from efferent.common import api_keys, workspaces
from efferent.common.control.kinds import KINDS, subject_of
from efferent.common.domain.events.preview import PreviewEvent
from efferent.common.domain.ids import ApiKeyId, BrainId, EnvironmentId, SessionId, WorkId, WorkspaceId
from efferent.common.domain.record import Record
from efferent.common.domain.resources.work import WorkItem
from efferent.common.jetstream import subjects
from efferent.common.jetstream.durable import DurableSpec
from efferent.common.runtime.settings import HostSettings, NatsSettings
from efferent.common.secrets.root_key import SecretSettings, generate

PAGE: Final = Path(__file__).parent.parent / "docs" / "asyncapi.json"
NATS_URL: Final = "nats://127.0.0.1:4222"
_STREAM_PATTERNS: Final = "_SUBJECTS"
_SESSION: Final = SessionId("{session_id}")
_ENVIRONMENT: Final = EnvironmentId("{environment_id}")


class Heartbeat(BaseModel):
    """A brain is alive and holds these sessions, or it says good-bye."""

    sessions: list[str] = []
    gone: bool = False


class WrappedKey(BaseModel):
    """A data key, wrapped by the root key."""

    v: Literal[1]
    root: str
    nonce: str
    key: str


@dataclass(frozen=True, slots=True)
class Channel:
    """A family of subjects and what travels there."""

    subject: str
    title: str
    says: str
    payload: Any
    stream: str | None = None


def channels() -> Iterator[Channel]:
    """All of them but what clients of the hosted service see."""
    record = create_model("SessionRecord", __base__=Record, __doc__=Record.__doc__, v=(Literal[1], ...))
    sessions, control = subjects.SESSIONS, subjects.CONTROL
    live = f"Republished as {subjects.live('<subject>')} once it is committed."
    yield Channel(subjects.session(_SESSION, "in"), "session.in", f"What clients did. {live}", record, sessions)
    yield Channel(subjects.session(_SESSION, "out"), "session.out", f"What the platform did. {live}", record, sessions)
    for kind in KINDS.values():
        subject = subject_of(kind, WorkspaceId("{workspace_id}"), f"{{{kind.name}_id}}", within="{parent_id}")
        says = f"Each record is the full state of one {kind.noun} after what its type says. {live}"
        yield Channel(subject, f"control.{kind.name}", says, kind.record, control)
    key, workspace = ApiKeyId("{api_key_id}"), WorkspaceId("{workspace_id}")
    yield Channel(api_keys.subject(key), "control.api_key", "Keys, as hashes.", api_keys.ApiKeyRecord, control)
    yield Channel(workspaces.subject(workspace), "control.workspace", "", workspaces.WorkspaceRecord, control)
    work = subjects.work(_ENVIRONMENT, _SESSION, WorkId("{work_id}"))
    yield Channel(work, "work", "The newest state of a work item.", WorkItem, subjects.WORK)
    key_subject = subjects.data_key("{owner_id}", "{data_key_id}")
    yield Channel(key_subject, "key", "Gone when the secret is shredded.", WrappedKey, subjects.KEYS)
    yield Channel(subjects.lease("{name}"), "lease", "Who works on something now.", str, subjects.LEASES)
    webhook, failures = subjects.webhook("{endpoint_id}"), subjects.webhook_failures("{endpoint_id}")
    yield Channel(webhook, "webhook", "A delivery that waits, as it is sent.", dict, subjects.WEBHOOKS)
    yield Channel(failures, "webhook_failures", "Since when it fails.", dict, subjects.WEBHOOK_FAILURES)
    preview = "Events in the making, one JSON text a line; may get lost."
    yield Channel(subjects.delta(_SESSION), "delta.session", preview, PreviewEvent)
    yield Channel(subjects.presence(BrainId("{brain_id}")), "presence.brain", "May get lost.", Heartbeat)
    yield Channel(subjects.worker_presence(_ENVIRONMENT), "presence.worker", "A worker's id; may get lost.", str)


def document() -> dict[str, Any]:
    """The whole document. Raises ValueError when a stream is not described."""
    broker = NatsBroker(NATS_URL, apply_types=False)
    described = list(channels())
    _check_complete(described)
    for channel in described:
        stream = f" Stream {channel.stream}." if channel.stream else " Not stored."
        broker.publisher(
            channel.subject, title=channel.title, description=f"{channel.says}{stream}".strip(), schema=channel.payload
        )
    _add_subscribers(broker)
    spec = AsyncAPI(
        broker,
        title="Efferent",
        version="1",
        description="What the services tell each other over NATS JetStream. No interface for clients.",
        schema_version="3.0.0",
    )
    written: dict[str, Any] = json.loads(spec.to_specification().to_json())
    return written


def text() -> str:
    """The file: a schema, a channel or an operation a line."""
    whole = document()
    head = json.dumps({"asyncapi": whole.pop("asyncapi")})[1:-1]
    components = {name: _lines(part) for name, part in whole.pop("components").items()}
    whole = {name: _lines(part) if isinstance(part, dict) else json.dumps(part) for name, part in whole.items()}
    whole["components"] = "{\n" + ",\n".join(f'"{name}": {part}' for name, part in components.items()) + "\n}"
    return "{\n" + ",\n".join([head, *(f'"{name}": {part}' for name, part in whole.items())]) + "\n}\n"


def _lines(part: dict[str, Any]) -> str:
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(part[name])}" for name in sorted(part)) + "\n}"


def _add_subscribers(broker: NatsBroker) -> None:
    for consumer in _consumers():
        for index, subject in enumerate(consumer.filter_subjects):
            title = consumer.durable if index == 0 else f"{consumer.durable}.{index + 1}"
            says = f"Durable consumer {consumer.durable} of stream {consumer.stream}."
            subscriber = broker.subscriber(
                subject,
                durable=consumer.durable,
                stream=JStream(consumer.stream, declare=False),
                pull_sub=True,
                title=title,
                description=says,
            )
            subscriber(_received)


def _consumers() -> list[DurableSpec]:
    with tempfile.TemporaryDirectory() as folder:
        settings = AutomationSettings(
            nats=NatsSettings(url=NATS_URL),
            machine=HostSettings(data_dir=Path(folder)),
            secrets=SecretSettings(key=SecretStr(generate())),
        )
        nothing: dict[str, Any] = dict.fromkeys(field.name for field in fields(Desk))
        desk = Desk(**{**nothing, "settings": settings})  # to say what it wants to read, a reactor needs no more
        return [subscription.consumer for reactor in reactors(desk) for subscription in reactor.subscriptions()]


async def _received(message: bytes) -> None:
    """See the channels of the subjects."""


def _check_complete(described: list[Channel]) -> None:
    families = {channel.subject.partition(".")[0] for channel in described}
    for name in dir(subjects):
        if name.endswith(_STREAM_PATTERNS):
            missing = [pattern for pattern in getattr(subjects, name) if pattern.partition(".")[0] not in families]
            if missing:
                raise ValueError(f"no channel describes {missing}")


def main() -> int:
    """Write the file, or say that it is out of step."""
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text() == text():
            return 0
        print(f"{PAGE.name} is out of step with the code: run python -m tools.generate_asyncapi", file=sys.stderr)
        return 1
    PAGE.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
