"""A self-hosted environment on a whole gateway whose clock the test moves, and its workers' credentials."""

import base64
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from efferent.common import api_keys
from efferent.common.domain.ids import EnvironmentId
from efferent.common.testing.fake_clock import FakeClock
from services.gateway.tests.gateway_rig import Answer, Served, ServerAddress, serve


@dataclass
class Queue:
    """One self-hosted environment."""

    served: Served
    clock: FakeClock
    environment_id: str
    environment_key: str
    agent_id: str
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def path(self) -> str:
        """Where its work is."""
        return f"/v1/environments/{self.environment_id}/work"

    async def session(self, *events: dict[str, Any]) -> str:
        """A new session's id."""
        body: dict[str, Any] = {"agent": self.agent_id, "environment_id": self.environment_id}
        if events:
            body["initial_events"] = list(events)
        return str((await self.ok("POST", "/v1/sessions", body))["id"])

    async def ok(self, method: str, path: str, body: object = None, *, bearer: str | None = None) -> Any:
        """What a request is answered, which must be 200."""
        answer = await self.call(method, path, body, bearer=bearer)
        assert answer.status == 200, answer.body
        return answer.body

    async def call(self, method: str, path: str, body: object = None, *, bearer: str | None = None) -> Answer:
        """A request with the API key, or with another credential."""
        headers = {"x-api-key": None, "authorization": f"Bearer {bearer}"} if bearer is not None else {}
        return await self.served.call(method, path, body, headers=headers)

    async def poll(self, query: str = "", *, worker_id: str | None = None) -> Any:
        """A poll with the environment key."""
        headers = {"x-api-key": None, "authorization": f"Bearer {self.environment_key}"}
        if worker_id is not None:
            headers["anthropic-worker-id"] = worker_id
        answer = await self.served.call("GET", f"{self.path}/poll{query}", headers=headers)
        assert answer.status == 200, answer.body
        return answer.body

    async def item(self, work_id: str, action: str, body: object = None, *, bearer: str | None = None) -> Answer:
        """A call about one item, with the environment key unless told otherwise."""
        return await self.call("POST", f"{self.path}/{work_id}/{action}", body, bearer=bearer or self.environment_key)

    async def beat(self, work_id: str, expected: str, *, bearer: str | None = None, more: str = "") -> Answer:
        """A heartbeat."""
        return await self.item(work_id, f"heartbeat?expected_last_heartbeat={expected}{more}", bearer=bearer)

    async def active(self) -> tuple[Any, str, str]:
        """A session's item that was polled, acknowledged and beaten for once; its last heartbeat, and its token."""
        await self.session()
        item = await self.poll()
        assert (await self.item(item["id"], "ack")).status == 200
        beat = await self.beat(item["id"], "NO_HEARTBEAT")
        assert beat.status == 200, beat.body
        return item, beat.body["last_heartbeat"], token_of(item)

    async def new_environment(self) -> tuple[str, str]:
        """Another self-hosted environment and a key of it."""
        body = {"name": f"self-hosted {next(self._numbers)}", "config": {"type": "self_hosted"}}
        environment_id = str((await self.ok("POST", "/v1/environments", body))["id"])
        key, _ = await api_keys.create_key(
            self.served.control_log,
            name="worker",
            clock=self.clock,
            workspace_id=self.served.workspace_id,
            environment_id=EnvironmentId(environment_id),
        )
        return environment_id, key


def token_of(item: Any) -> str:
    """The sessions token in a polled item's secret."""
    secret = item["secret"]
    return str(orjson.loads(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)))["sessions_token"])


@asynccontextmanager
async def queue_on(address: ServerAddress, data_dir: Path, **more: Any) -> AsyncIterator[Queue]:
    """A gateway with a self-hosted environment, an agent and an environment key."""
    clock = FakeClock()
    async with serve(address, data_dir, clock=clock, **more) as served:
        queue = Queue(served, clock, "", "", "")
        queue.environment_id, queue.environment_key = await queue.new_environment()
        tools = [{"type": "agent_toolset_20260401"}]
        agent = await queue.ok("POST", "/v1/agents", {"name": "a", "model": "claude-sonnet-5-5", "tools": tools})
        queue.agent_id = agent["id"]
        yield queue
