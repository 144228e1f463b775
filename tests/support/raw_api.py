"""The API without the SDK: exact headers and bytes, and what came back for them."""

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import aiohttp

from tests.support.efferent_server import API_KEY

BETA: Final = "managed-agents-2026-04-01"
HEADERS: Final = {
    "authorization": f"Bearer {API_KEY}",
    "anthropic-version": "2026-10-21",
    "anthropic-beta": BETA,
    "content-type": "application/json",
}


@dataclass(frozen=True)
class Answer:
    """One response, read to its end."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.text)

    @property
    def error(self) -> Any:
        """What the error envelope holds; checks the envelope."""
        body = self.json
        assert body["type"] == "error", body
        assert body["request_id"] == self.headers["request-id"]
        return body["error"]


class RawApi:
    """Sends requests as they are told."""

    def __init__(self, base_url: str, http: aiohttp.ClientSession) -> None:
        self._base_url = base_url
        self._http = http

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        data: bytes | BinaryIO | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """One request; ``headers`` change the usual ones, None leaves one out."""
        wanted = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value is not None}
        if data is None and body is not None:
            data = json.dumps(body).encode()
        skip = ("Content-Type",) if "content-type" not in wanted else ()
        async with self._http.request(
            method, f"{self._base_url}{path}", data=data, headers=wanted, skip_auto_headers=skip
        ) as response:
            return Answer(response.status, response.headers, await response.text())

    async def send(
        self, session_id: str, *events: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send events to a session."""
        return await self.call("POST", f"/v1/sessions/{session_id}/events", {"events": events}, headers=headers)

    async def types(self, session_id: str) -> list[str]:
        """Types of a session's whole history."""
        answer = await self.call("GET", f"/v1/sessions/{session_id}/events?limit=1000")
        assert answer.status == 200, answer.text
        return [event["type"] for event in answer.json["data"]]

    def stream(
        self, session_id: str, *, query: str = "", headers: Mapping[str, str] | None = None, read_bytes: int = 65_536
    ) -> Any:
        """The response of a session's stream, to be entered as a context."""
        return self._http.get(
            f"{self._base_url}/v1/sessions/{session_id}/events/stream{query}",
            headers={**HEADERS, **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=read_bytes,
        )


@dataclass(frozen=True)
class Frame:
    """One server-sent event; a comment has no data."""

    event: str | None
    id: str | None
    data: Any
    comment: str | None = None


async def frames(response: aiohttp.ClientResponse) -> AsyncGenerator[Frame]:
    """The frames of a stream as they come."""
    unread = b""
    async for chunk in response.content.iter_any():
        *whole, unread = (unread + chunk).split(b"\n\n")
        for each in whole:
            yield _frame(each.decode().split("\n"))


def _frame(lines: list[str]) -> Frame:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name] = value.removeprefix(" ")
    data = json.loads(fields["data"]) if "data" in fields else None
    return Frame(fields.get("event"), fields.get("id"), data, fields.get(""))
