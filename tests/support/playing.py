"""Plays a session through the official SDK: create, send, watch, and wait for events with a deadline."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from anthropic import AsyncAnthropic

from tests.support.history import problems_of

DEADLINE_S: Final = 30.0
MODEL: Final = "claude-sonnet-5-5"
ENDS: Final = ("session.status_idle", "session.status_terminated")


def script(*steps: dict[str, Any], say: str = "please") -> str:
    """A message that tells the scripted model what to answer, one step per model request."""
    return f"{say}\nscript: {json.dumps(list(steps))}"


def message(text: str) -> dict[str, Any]:
    """A ``user.message``."""
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def scripted(*steps: dict[str, Any], say: str = "please") -> dict[str, Any]:
    """A ``user.message`` with a script."""
    return message(script(*steps, say=say))


def interrupt() -> dict[str, Any]:
    """A ``user.interrupt``."""
    return {"type": "user.interrupt"}


def confirmation(tool_use_id: str, result: str = "allow", **rest: Any) -> dict[str, Any]:
    """A ``user.tool_confirmation``."""
    return {"type": "user.tool_confirmation", "tool_use_id": tool_use_id, "result": result, **rest}


def custom_result(custom_tool_use_id: str, text: str, **rest: Any) -> dict[str, Any]:
    """A ``user.custom_tool_result`` with one text."""
    content = [{"type": "text", "text": text}]
    return {"type": "user.custom_tool_result", "custom_tool_use_id": custom_tool_use_id, "content": content, **rest}


def bash(command: str) -> dict[str, Any]:
    """A step of a script that calls bash."""
    return {"tool": "bash", "input": {"command": command}}


def toolset(policy: str = "always_allow", **rest: Any) -> dict[str, Any]:
    """The built-in tools under one policy."""
    return {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": policy}}, **rest}


def custom_tool(name: str = "look_up") -> dict[str, Any]:
    """A tool that the client runs."""
    schema = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
    return {"type": "custom", "name": name, "description": "Looks a key up.", "input_schema": schema}


def fresh_name(what: str = "gate") -> str:
    """A name that no other test has."""
    return f"{what}-{secrets.token_hex(8)}"


def types_of(events: Sequence[Any]) -> list[str]:
    """The types of events."""
    return [event.type for event in events]


def text_of(event: Any) -> str:
    """All text of an event's content."""
    return "".join(block.text for block in event.content or () if block.type == "text")


def of_type(events: Sequence[Any], kind: str) -> list[Any]:
    """The events of one type."""
    return [event for event in events if event.type == kind]


class Watch:
    """What one reader of a session's stream has seen since it opened."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.ended = False
        self._changed = asyncio.Condition()

    async def until(self, kind: str, *, count: int = 1, deadline_s: float = DEADLINE_S) -> Any:
        """The ``count``-th event of this type, waited for. The message of a timeout says what was seen instead."""

        def found() -> list[Any]:
            return of_type(self.seen, kind)

        try:
            async with self._changed, asyncio.timeout(deadline_s):
                await self._changed.wait_for(lambda: len(found()) >= count or self.ended)
        except TimeoutError:
            raise AssertionError(f"no {count}. {kind} within {deadline_s} s; seen: {types_of(self.seen)}") from None
        if len(found()) < count:
            raise AssertionError(f"the stream ended without a {count}. {kind}; seen: {types_of(self.seen)}")
        return found()[count - 1]

    async def settled(self, *sent: Any, deadline_s: float = DEADLINE_S) -> None:
        """Return when all these echoes were taken in and the session is idle; idle is never said over waiting input."""
        wanted = {echo.id for echo in sent}
        try:
            async with self._changed, asyncio.timeout(deadline_s):
                await self._changed.wait_for(
                    lambda: wanted <= {getattr(event, "id", None) for event in self.seen} and self.seen[-1].type in ENDS
                )
        except TimeoutError:
            raise AssertionError(f"not settled within {deadline_s} s; seen: {types_of(self.seen)}") from None

    async def until_end(self, *, deadline_s: float = DEADLINE_S) -> None:
        """Return when the server has ended the stream."""
        async with self._changed, asyncio.timeout(deadline_s):
            await self._changed.wait_for(lambda: self.ended)

    async def follow(self, stream: Any) -> None:
        """Take events in until the stream ends."""
        try:
            async for event in stream:
                async with self._changed:
                    self.seen.append(event)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self.ended = True
                self._changed.notify_all()


class Played:
    """One session and everything a test does with it."""

    def __init__(self, client: AsyncAnthropic, session_id: str) -> None:
        self.client = client
        self.id = session_id

    @classmethod
    async def create(
        cls,
        client: AsyncAnthropic,
        *,
        model: str = MODEL,
        tools: list[Any] | None = None,
        agent: dict[str, Any] | None = None,
        **options: Any,
    ) -> "Played":
        """An agent, an environment and a session of their own."""
        environment = await client.beta.environments.create(name=fresh_name("env"))
        offered: list[Any] = [toolset()] if tools is None else tools
        made = await client.beta.agents.create(name="tester", model=model, tools=offered, **(agent or {}))
        session = await client.beta.sessions.create(agent=made.id, environment_id=environment.id, **options)
        return cls(client, session.id)

    async def retrieve(self) -> Any:
        """The session as it is shown."""
        return await self.client.beta.sessions.retrieve(self.id)

    async def send(self, *events: dict[str, Any]) -> list[Any]:
        """Send events; their echoes."""
        sent = await self.client.beta.sessions.events.send(self.id, events=list(events))  # type: ignore[arg-type]
        return list(sent.data or [])

    async def events(self, *, checked: bool = True) -> list[Any]:
        """The whole history; unless told otherwise, it must obey the laws that all histories obey."""
        found = [event async for event in self.client.beta.sessions.events.list(self.id, limit=1000)]
        if checked:
            assert problems_of(found) == [], types_of(found)
        return found

    async def types(self) -> list[str]:
        """Types of the whole history."""
        return types_of(await self.events())

    @contextlib.asynccontextmanager
    async def watch(self, **options: Any) -> AsyncIterator[Watch]:
        """A reader of the stream, open when the block begins."""
        watch = Watch()
        async with await self.client.beta.sessions.events.stream(self.id, **options) as stream:
            following = asyncio.create_task(watch.follow(stream))
            try:
                yield watch
            finally:
                following.cancel()
                await asyncio.wait([following])

    async def until_idle(self, *events: dict[str, Any], deadline_s: float = DEADLINE_S) -> list[Any]:
        """Send the events and return what the stream showed up to the session's next idle or end."""
        seen: list[Any] = []
        try:
            async with asyncio.timeout(deadline_s):
                async with await self.client.beta.sessions.events.stream(self.id) as stream:
                    if events:
                        await self.send(*events)
                    async for event in stream:
                        seen.append(event)
                        if event.type in ENDS:
                            return seen
        except TimeoutError:
            raise AssertionError(f"not idle within {deadline_s} s; seen: {types_of(seen)}") from None
        raise AssertionError(f"the stream ended before the turn did; seen: {types_of(seen)}")
