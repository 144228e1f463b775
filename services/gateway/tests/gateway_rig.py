"""A whole gateway over HTTP on a random port, and requests to it: with the official client and without."""

import base64
import io
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from anthropic import AsyncAnthropic
from pydantic import SecretStr

from efferent.common import api_keys
from efferent.common.domain.ids import ApiKeyId, WorkspaceId, from_seed
from efferent.common.jetstream.connection import Connection, connect
from efferent.common.jetstream.control_log import JetStreamControlLog
from efferent.common.ports import Clock
from efferent.common.runtime.clock import RandomSeeds, SystemClock
from efferent.common.runtime.settings import HostSettings, NatsSettings
from efferent.common.secrets.root_key import SecretSettings
from efferent.gateway.app import Gateway, build
from efferent.gateway.settings import GatewaySettings

SEEDS: Final = RandomSeeds()
CLOCK: Final = SystemClock()
WAIT_S: Final = 30.0
ROOT_KEY: Final = base64.b64encode(bytes(32)).decode()
"""Gateways of many data folders share one log."""
BETA: Final = "managed-agents-2026-04-01"
VERSION: Final = "2026-10-21"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where a nats-server is and how to get in."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, ``error.type`` and message of a refusal, after a look at the envelope."""
        assert set(self.body) == {"type", "error", "request_id"}
        assert self.body["type"] == "error"
        assert self.body["request_id"] == self.headers["request-id"]
        return self.status, self.body["error"]["type"], self.body["error"]["message"]


@dataclass
class Served:
    """A running gateway."""

    gateway: Gateway
    connection: Connection
    control_log: JetStreamControlLog
    workspace_id: WorkspaceId
    key: str
    key_id: ApiKeyId
    http: aiohttp.ClientSession
    sdks: list[AsyncAnthropic] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.gateway.port}"

    def sdk(self, *, max_retries: int = 0) -> AsyncAnthropic:
        """The official client, without retries unless asked for, so that a test sees every answer."""
        client = AsyncAnthropic(base_url=self.url, api_key=self.key, max_retries=max_retries)
        self.sdks.append(client)
        return client

    async def call(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """One request with the usual headers; a header given as None is left out. ``bytes`` go out as they are."""
        usual = {"x-api-key": self.key, "anthropic-version": VERSION, "anthropic-beta": BETA}
        sent = {name: value for name, value in (usual | dict(headers or {})).items() if value is not None}
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        payload = io.BytesIO(data) if data is not None else None
        async with self.http.request(method, self.url + path, data=payload, headers=sent) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json"
            return Answer(response.status, response.headers.copy(), orjson.loads(raw) if is_json else raw)

    async def new_workspace(self) -> "tuple[WorkspaceId, str]":
        """Another workspace and a key of it."""
        workspace_id = WorkspaceId(from_seed("wrkspc_", SEEDS.seed()))
        key, _ = await api_keys.create_key(self.control_log, name="test", clock=CLOCK, workspace_id=workspace_id)
        return workspace_id, key


def settings(address: ServerAddress, data_dir: Path, **more: Any) -> GatewaySettings:
    """Settings of a gateway on a free port."""
    return GatewaySettings(
        nats=NatsSettings(url=address.url, token=address.token),
        machine=HostSettings(data_dir=data_dir),
        secrets=SecretSettings(key=SecretStr(ROOT_KEY)),
        port=0,
        **more,
    )


@asynccontextmanager
async def serve(
    address: ServerAddress, data_dir: Path, *, clock: Clock | None = None, **more: Any
) -> AsyncIterator[Served]:
    """A gateway from start to stop, with a key of a fresh workspace."""
    gateway = build(settings(address, data_dir, **more), clock=clock, environ={})
    connection = await connect([address.url], name="test", token=address.token, within_s=WAIT_S)
    try:
        await gateway.start()
        control_log = JetStreamControlLog(connection)
        workspace_id = WorkspaceId(from_seed("wrkspc_", SEEDS.seed()))
        key, made = await api_keys.create_key(control_log, name="test", clock=CLOCK, workspace_id=workspace_id)
        async with aiohttp.ClientSession() as http:
            running = Served(gateway, connection, control_log, workspace_id, key, made.id, http)
            yield running
            for sdk in running.sdks:
                await sdk.close()
        await gateway.drain()
    finally:
        await gateway.stop()
        await connection.close()


def await_greeting(port: int) -> None:
    """Return once a nats-server on this port greets its clients, which it does when its store is open."""
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as peer:
                if peer.recv(5) == b"INFO ":
                    return
        except OSError:
            if time.monotonic() > until_s:
                raise
