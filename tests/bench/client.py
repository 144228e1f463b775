"""The benchmark's client: bare aiohttp, one stream per session, and no more looking at bytes than a turn's end needs.

It speaks to a server and to the floor in the same way, so both pay the same for being measured.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson

MODEL: Final = "claude-sonnet-5-5"
TURN_DEADLINE_S: Final = 60.0
_IDLE: Final = b'"type":"session.status_idle"'
_DELTA: Final = b'"type":"event_delta"'
_CONNECTIONS_MAX: Final = 4_000


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """When things were seen, in seconds from the moment of sending."""

    idle_s: float
    first_delta_s: float | None


class Client:
    """One client of one server, with its connections."""

    def __init__(self, base_url: str, api_key: str = "", environment_id: str = "", agent_id: str = "") -> None:
        self.base_url = base_url
        self._api_key = api_key
        self._environment_id = environment_id
        self._agent_id = agent_id
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"content-type": "application/json"}
        if self._api_key:
            headers |= {
                "x-api-key": self._api_key,
                "anthropic-version": "2023-06-01",
                "anthropic-beta": "managed-agents-2026-04-01",
            }
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=TURN_DEADLINE_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()

    @property
    def http(self) -> aiohttp.ClientSession:
        """The connections. Raises RuntimeError outside of the client's context."""
        if self._http is None:
            raise RuntimeError("the client is not open")
        return self._http

    async def prepare(self) -> None:
        """Create the agent and the environment that all sessions of the run use."""
        environment = await self.post("/v1/environments", {"name": f"bench-{secrets.token_hex(6)}"})
        tools = {
            "type": "agent_toolset_20260401",
            "default_config": {"permission_policy": {"type": "always_allow"}},
        }
        agent = await self.post("/v1/agents", {"name": "bench", "model": MODEL, "tools": [tools]})
        self._environment_id, self._agent_id = environment["id"], agent["id"]

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        """Post JSON and return the answer's. Raises RuntimeError for an answer that is not 2xx."""
        async with self.http.post(self.base_url + path, data=orjson.dumps(body), headers=headers) as response:
            answer = await response.read()
            if response.status >= 300:
                raise RuntimeError(f"{path}: {response.status} {answer[:500]!r}")
            return orjson.loads(answer)

    async def get(self, path: str) -> Any:
        """Get JSON. Raises RuntimeError for an answer that is not 200."""
        async with self.http.get(self.base_url + path) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"{path}: {response.status} {answer[:500]!r}")
            return orjson.loads(answer)

    async def create_session(self) -> str:
        """A new session's id."""
        session = await self.post("/v1/sessions", self.session_body())
        return str(session["id"])

    def session_body(self) -> dict[str, Any]:
        """What a session of this run is made from."""
        return {"agent": self._agent_id, "environment_id": self._environment_id}

    async def play(self, session_id: str | None = None, *, deltas: bool = False) -> "Played":
        """A session, new unless named, with its stream open."""
        played = Played(self, session_id or await self.create_session())
        await played.open(deltas=deltas)
        return played


class Played:
    """One session and its open stream."""

    def __init__(self, client: Client, session_id: str) -> None:
        self.id = session_id
        self._client = client
        self._events_url = f"{client.base_url}/v1/sessions/{session_id}/events"
        self._stream: aiohttp.ClientResponse | None = None

    async def open(self, *, deltas: bool = False) -> None:
        """Open the stream. Raises RuntimeError when it is refused."""
        query = "?event_deltas[]=agent.message" if deltas else ""
        stream = await self._client.http.get(f"{self._events_url}/stream{query}")
        if stream.status != 200:
            raise RuntimeError(f"stream: {stream.status} {await stream.text()}")
        self._stream = stream

    def close(self) -> None:
        """Leave the stream."""
        if self._stream is not None:
            self._stream.close()

    async def send(self, body: bytes) -> None:
        """Send events. Raises RuntimeError when they are refused."""
        async with self._client.http.post(self._events_url, data=body) as response:
            answer = await response.read()
            if response.status != 200:
                raise RuntimeError(f"events: {response.status} {answer[:500]!r}")

    async def turn(self, body: bytes) -> TurnTimes:
        """Send a message and wait until the stream says idle. Raises TimeoutError."""
        started_s = time.perf_counter()
        async with asyncio.timeout(TURN_DEADLINE_S):
            await self.send(body)
            return await self.until_idle(started_s)

    async def until_idle(self, started_s: float) -> TurnTimes:
        """Read the stream up to the next idle. Raises EOFError when it ends before."""
        if self._stream is None:
            raise RuntimeError("the stream is not open")
        first_delta_s: float | None = None
        tail = b""
        while chunk := await self._stream.content.readany():
            seen_s = time.perf_counter() - started_s
            seen = tail + chunk
            if first_delta_s is None and _DELTA in seen:
                first_delta_s = seen_s
            if _IDLE in seen:
                return TurnTimes(seen_s, first_delta_s)
            tail = seen[-len(_IDLE) :]
        raise EOFError(f"the stream of {self.id} ended")


def message(text: str) -> bytes:
    """The body that sends one message."""
    content = [{"type": "text", "text": text}]
    return orjson.dumps({"events": [{"type": "user.message", "content": content}]})


def script(*steps: dict[str, Any]) -> bytes:
    """The body of a message that tells the scripted model what to answer."""
    return message(f"please\nscript: {orjson.dumps(list(steps)).decode()}")


TEXT: Final = message("What is the answer to this question?")
TOOL: Final = script({"tool": "bash", "input": {"command": "true"}}, {"text": "The command has run."})
