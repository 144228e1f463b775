"""A whole gateway on a random port over a real nats-server, with the official client and a raw one."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from anthropic import AsyncAnthropic
from pydantic import SecretStr

from efferent.common import api_keys
from efferent.common.blobs.local_folder import LocalFolderBlobs
from efferent.common.domain.ids import SessionId, WorkspaceId
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.jetstream.session_log import JetStreamSessionLog
from efferent.common.ports import RawRecord
from efferent.common.runtime import nats_server
from efferent.common.runtime.free_port import free_port
from efferent.common.runtime.settings import HostSettings, NatsSettings
from efferent.common.secrets.root_key import SecretSettings
from efferent.gateway.app import Gateway, build
from efferent.gateway.context import CONTEXT, GatewayContext
from efferent.gateway.sessions.services import SessionServices
from efferent.gateway.settings import GatewaySettings
from services.gateway.tests.session_rig import CLOCK, SEEDS, WAIT_S, Brain

ROOT_KEY = base64.b64encode(bytes(32)).decode()
BETA = "managed-agents-2026-04-01"
OTHER_WORKSPACE = WorkspaceId("wrkspc_other")


@dataclass
class Answer:
    """A raw answer."""

    status: int
    headers: Any
    body: Any

    @property
    def message(self) -> str:
        """The error's text."""
        text: str = self.body["error"]["message"]
        return text


@dataclass
class Stream:
    """A raw SSE stream."""

    response: aiohttp.ClientResponse
    lines: list[str] = field(default_factory=list)

    async def frame(self) -> dict[str, str]:
        """The next frame's fields; an empty one when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WAIT_S):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                if not line and "data" in fields:
                    return fields
                name, colon, value = line.partition(": ")
                if colon and name:
                    fields[name] = value
        return {}

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next events."""
        return [orjson.loads((await self.frame())["data"]) for _ in range(count)]


@dataclass
class Api:
    """The gateway with everything that a test needs around it."""

    gateway: Gateway
    connection: Connection
    log: JetStreamSessionLog
    control_log: JetStreamControlLog
    key: str
    other_key: str
    http: aiohttp.ClientSession
    client: AsyncAnthropic
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.gateway.port}"

    @property
    def services(self) -> SessionServices:
        """The parts behind the session routes."""
        assert self.gateway._sessions is not None
        return self.gateway._sessions

    @property
    def gateway_context(self) -> GatewayContext:
        """The parts of the gateway."""
        assert self.gateway._http is not None
        return self.gateway._http._runner.app[CONTEXT]

    @property
    def gateway_workspace(self) -> WorkspaceId:
        """The workspace of ``key``."""
        return api_keys.DEFAULT_WORKSPACE_ID

    async def records(self) -> AsyncIterator[RawRecord]:
        """Everything in the logs of sessions so far."""
        feed = self.gateway_context.sessions_feed
        last = await feed.last_sequence()
        async for batch in feed.follow(after=0):
            for raw in batch:
                yield raw
            if batch[-1].sequence >= last:
                return

    def headers(self, key: str | None = None) -> dict[str, str]:
        """What every request carries."""
        return {"x-api-key": key or self.key, "anthropic-version": "2023-06-01", "anthropic-beta": BETA}

    async def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> Answer:
        """One raw request."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        data = orjson.dumps(body) if body is not None else None
        async with self.http.request(
            method, self.url + path, data=data, headers={**self.headers(key), **more}
        ) as response:
            return Answer(response.status, response.headers, orjson.loads(await response.read()))

    @asynccontextmanager
    async def stream(self, path: str, **headers: str) -> AsyncIterator[Stream]:
        """An open SSE stream."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.get(self.url + path, headers={**self.headers(), **more}) as response:
            assert response.status == 200, await response.text()
            yield Stream(response)

    async def agent(self, **fields: object) -> str:
        """A new agent's id."""
        body = {"name": "tester", "model": "offline/echo", "tools": [{"type": "agent_toolset_20260401"}], **fields}
        answer = await self.call("POST", "/v1/agents", body)
        assert answer.status == 200, answer.body
        identifier: str = answer.body["id"]
        return identifier

    async def environment(self, name: str = "testing", **fields: object) -> str:
        """A new environment's id."""
        answer = await self.call("POST", "/v1/environments", {"name": name, **fields})
        assert answer.status == 200, answer.body
        identifier: str = answer.body["id"]
        return identifier

    async def session(self, **fields: object) -> dict[str, Any]:
        """A new session; with an agent and an environment of its own unless they are given."""
        agent = fields.pop("agent", None) or await self.agent()
        environment = fields.pop("environment_id", None) or await self.environment(SEEDS.seed())
        body = {"agent": agent, "environment_id": environment, **fields}
        answer = await self.call("POST", "/v1/sessions", body)
        assert answer.status == 200, answer.body
        resource: dict[str, Any] = answer.body
        return resource

    async def send(self, session_id: str, *texts: str) -> list[dict[str, Any]]:
        """Send messages; returns the echoes."""
        answer = await self.call("POST", f"/v1/sessions/{session_id}/events", {"events": [message(t) for t in texts]})
        assert answer.status == 200, answer.body
        echoes: list[dict[str, Any]] = answer.body["data"]
        return echoes

    def brain(self, session_id: str) -> Brain:
        """A brain for the session."""
        return Brain(self.log, SessionId(session_id))


def message(text: str) -> dict[str, object]:
    """A user message as a request carries it."""
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


@asynccontextmanager
async def api(folder: Path, *, behind_wait_s: float = 5.0) -> AsyncIterator[Api]:
    """A gateway over a server of its own."""
    spec = nats_server.ServerSpec(folder=folder / "nats", port=free_port(), token=nats_server.new_token())
    async with nats_server.running(spec) as server:
        connection = await connect([server.url], name="test", token=server.token, within_s=WAIT_S)
        try:
            async with served(server, connection, folder, behind_wait_s=behind_wait_s) as made:
                yield made
        finally:
            await connection.close()


@asynccontextmanager
async def served(
    server: nats_server.RunningServer,
    connection: Connection,
    folder: Path,
    *,
    name: str = "one",
    behind_wait_s: float = 5.0,
) -> AsyncIterator[Api]:
    """One gateway of possibly several over the same server."""
    settings = GatewaySettings(
        nats=NatsSettings(url=server.url, token=server.token),
        machine=HostSettings(data_dir=folder / name),
        secrets=SecretSettings(key=SecretStr(ROOT_KEY)),
        port=0,
        behind_wait_s=behind_wait_s,
    )
    control_log = JetStreamControlLog(connection)
    gateway = build(settings, environ={})
    await gateway.start()
    key, _ = await api_keys.create_key(control_log, name="test", clock=CLOCK)
    other, _ = await api_keys.create_key(control_log, name="other", clock=CLOCK, workspace_id=OTHER_WORKSPACE)
    url = f"http://127.0.0.1:{gateway.port}"
    try:
        async with (
            aiohttp.ClientSession() as http,
            AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client,
        ):
            log = JetStreamSessionLog(connection, LocalFolderBlobs(folder / name / "blobs"))
            yield Api(gateway, connection, log, control_log, key, other, http, client, folder)
    finally:
        await gateway.drain()
        await gateway.stop()
