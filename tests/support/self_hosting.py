"""A self-hosted environment, a key of it, sessions on it, and the official SDK's worker that serves them."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from anthropic import AsyncAnthropic

from tests.support.node_packages import node_program
from tests.support.playing import MODEL, Played, fresh_name, of_type, text_of, toolset
from tests.support.python_packages import environment_with
from tests.support.raw_api import Answer, RawApi

TESTS: Final = Path(__file__).parents[1]
OLD_SDK: Final = TESTS / "sdk_old" / "requirements.lock"
DEADLINE_S: Final = 60.0
"""How long anything may take on a machine that is busy with other tests."""
LEAVE_AFTER_S: Final = 0.5
"""How long the workers of tests stay with an idle session."""


async def command_of(worker: str) -> Sequence[str]:
    """How a kind of worker is run as a program: that of the present Python SDK, of the old one, or of TypeScript."""
    program = str(TESTS / "sdk_old" / "serve.py")
    match worker:
        case "python":
            return (sys.executable, program)
        case "old python":
            return (str(await asyncio.to_thread(environment_with, OLD_SDK)), program)
        case _:
            return (await asyncio.to_thread(node_program, TESTS / "sdk_typescript")).command("worker.mjs")


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something outside that nothing tells of."""
    async with asyncio.timeout(DEADLINE_S):
        while not happened():  # noqa: ASYNC110 (another process makes it happen)
            await asyncio.sleep(0.02)


async def answers(played: Played) -> list[tuple[str, str, bool]]:
    """Who ran what: the texts of the results that workers sent, by call."""
    events = await played.events()
    assert of_type(events, "agent.tool_result") == []
    return [
        (event.tool_use_id, text_of(event).strip(), event.is_error) for event in of_type(events, "user.tool_result")
    ]


@dataclass(frozen=True)
class SelfHosted:
    """One self-hosted environment."""

    client: AsyncAnthropic
    raw: RawApi
    environment_id: str
    key_id: str
    key: str

    @classmethod
    async def create(cls, client: AsyncAnthropic, raw: RawApi) -> "SelfHosted":
        """A fresh environment with a key."""
        environment = await client.beta.environments.create(
            name=fresh_name("self-hosted"), config={"type": "self_hosted"}
        )
        made = await raw.call("POST", f"/v1/environments/{environment.id}/keys", {"name": "worker"})
        assert made.status == 200, made.text
        return cls(client, raw, environment.id, made.json["id"], made.json["key"])

    async def session(self, *, tools: list[Any] | None = None, **options: Any) -> Played:
        """A session on it, with an agent of its own."""
        offered: list[Any] = [toolset()] if tools is None else tools
        agent = await self.client.beta.agents.create(name="tester", model=MODEL, tools=offered)
        session = await self.client.beta.sessions.create(agent=agent.id, environment_id=self.environment_id, **options)
        return Played(self.client, session.id)

    async def work(self, method: str, path: str = "", body: object = None, *, bearer: str | None = None) -> Answer:
        """A request to the queue, with the environment key unless told otherwise."""
        headers = {"authorization": f"Bearer {bearer or self.key}"}
        return await self.raw.call(method, f"/v1/environments/{self.environment_id}/work{path}", body, headers=headers)

    async def items_of(self, session_id: str) -> list[Any]:
        """The session's work items, newest first."""
        answer = await self.work("GET", "?limit=100")
        assert answer.status == 200, answer.text
        return [item for item in answer.json["data"] if item["data"]["id"] == session_id]

    async def until_state(self, session_id: str, state: str, *, items: int = 1, deadline_s: float = DEADLINE_S) -> Any:
        """The session's newest item, once there are that many and the newest is in this state."""
        found: list[Any] = []
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    found = await self.items_of(session_id)
                    if len(found) >= items and found[0]["state"] == state:
                        return found[0]
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"no item {items} in state {state}: {found}") from None

    @contextlib.asynccontextmanager
    async def worker(self, workdir: Path, **options: Any) -> AsyncIterator["asyncio.Task[None]"]:
        """The SDK's worker, polling during the block. An error that ends it early is left in the task."""
        os.makedirs(workdir, exist_ok=True)
        options.setdefault("max_idle", LEAVE_AFTER_S)
        worker = self.client.beta.environments.work.worker(
            environment_id=self.environment_id, environment_key=self.key, workdir=workdir, **options
        )
        running = asyncio.create_task(worker.run())
        try:
            yield running
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def serve(self, item: Any, workdir: Path) -> None:
        """Serve one polled item to its end, as a worker that has its secret alone."""
        os.makedirs(workdir, exist_ok=True)
        worker = self.client.beta.environments.work.worker(workdir=workdir, max_idle=LEAVE_AFTER_S)
        await worker.handle_item(
            work_id=item["id"],
            environment_id=self.environment_id,
            session_id=item["data"]["id"],
            work_secret=item["secret"],
        )

    @contextlib.asynccontextmanager
    async def program(self, command: Sequence[str], folder: Path, **more: str) -> AsyncIterator["WorkerProgram"]:
        """A worker in a process of its own, running during the block; ``more`` are variables instead of the key."""
        os.makedirs(folder, exist_ok=True)
        told = more or {"ANTHROPIC_ENVIRONMENT_KEY": self.key}
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
        environ |= {
            "ANTHROPIC_BASE_URL": str(self.client.base_url),
            "ANTHROPIC_ENVIRONMENT_ID": self.environment_id,
            "WORKDIR": str(folder),
            "LEAVE_AFTER_S": str(LEAVE_AFTER_S),
            **told,
        }
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            yield WorkerProgram(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@dataclass(frozen=True)
class WorkerProgram:
    """A worker in a process of its own."""

    process: asyncio.subprocess.Process

    async def ended(self, *, deadline_s: float = DEADLINE_S) -> str:
        """What it printed, once it has ended by itself."""
        async with asyncio.timeout(deadline_s):
            output, _ = await self.process.communicate()
        return output.decode(errors="replace")
