"""Plays a session through the official SDK: create, send, wait for an event with a deadline."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

from anthropic import AsyncAnthropic

DEADLINE_S: Final = 30.0
MODEL: Final = "claude-sonnet-5-5"


def script(*steps: dict[str, Any], say: str = "please") -> str:
    """A message that tells the scripted model what to answer, one step per model request."""
    return f"{say}\nscript: {json.dumps(list(steps))}"


def message(text: str) -> dict[str, Any]:
    """A ``user.message``."""
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def toolset(policy: str = "always_allow") -> dict[str, Any]:
    """The built-in tools under one policy."""
    return {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": policy}}}


class Played:
    """One session and everything a test does with it."""

    def __init__(self, client: AsyncAnthropic, session_id: str) -> None:
        self.client = client
        self.id = session_id

    @classmethod
    async def create(
        cls, client: AsyncAnthropic, *, model: str = MODEL, tools: list[Any] | None = None, **options: Any
    ) -> "Played":
        """An agent, an environment and a session of their own."""
        environment = await client.beta.environments.create(name=f"env-{secrets.token_hex(8)}")
        agent = await client.beta.agents.create(
            name="tester", model=model, tools=[toolset()] if tools is None else tools
        )
        session = await client.beta.sessions.create(agent=agent.id, environment_id=environment.id, **options)
        return cls(client, session.id)

    async def send(self, *events: dict[str, Any]) -> list[Any]:
        """Send events; their echoes."""
        sent = await self.client.beta.sessions.events.send(self.id, events=list(events))  # type: ignore[arg-type]
        return list(sent.data or [])

    async def events(self) -> list[Any]:
        """The whole history."""
        return [event async for event in self.client.beta.sessions.events.list(self.id, limit=1000)]

    async def types(self) -> list[str]:
        """Types of the whole history."""
        return [event.type for event in await self.events()]

    async def stream(self) -> AsyncIterator[Any]:
        """Live events from now on."""
        async with await self.client.beta.sessions.events.stream(self.id) as stream:
            async for event in stream:
                yield event

    async def until_idle(self, *events: dict[str, Any], deadline_s: float = DEADLINE_S) -> list[Any]:
        """Send the events and return what the stream showed up to the session's next idle."""
        seen: list[Any] = []
        async with asyncio.timeout(deadline_s):
            async with await self.client.beta.sessions.events.stream(self.id) as stream:
                if events:
                    await self.send(*events)
                async for event in stream:
                    seen.append(event)
                    if event.type in ("session.status_idle", "session.status_terminated"):
                        return seen
        return seen
