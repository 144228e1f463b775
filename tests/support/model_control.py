"""The test's side of the scripted model: gates, recorded requests, counters and rules over its control interface."""

from typing import Any

import aiohttp


class ModelControl:
    """Steers one scripted model and reads what it was asked."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def waiting(self, gate: str, at_least: int = 1) -> None:
        """Return when that many answers wait at the gate."""
        await self._call("GET", f"/control/gates/{gate}/waiting?at_least={at_least}")

    async def waiting_now(self, gate: str) -> int:
        """How many answers wait at the gate."""
        state = await self._call("GET", f"/control/gates/{gate}")
        return int(state["waiting"])

    async def open(self, gate: str) -> None:
        """Let everything pass the gate, now and later."""
        await self._call("POST", f"/control/gates/{gate}")

    async def close(self, gate: str) -> None:
        """Hold what comes to the gate from now on."""
        await self._call("DELETE", f"/control/gates/{gate}")

    async def requests(self, contains: str) -> list[dict[str, Any]]:
        """The recorded requests whose question contains the text, oldest first."""
        async with self._http.get(f"{self._url}/control/requests", params={"contains": contains}) as response:
            assert response.status == 200, await response.text()
            found: list[dict[str, Any]] = await response.json()
            return found

    async def counted(self, name: str, at_least: int = 1) -> dict[str, Any]:
        """The counters, once the named one has reached the number."""
        counters: dict[str, Any] = await self._call("GET", f"/control/counters?wait={name}&at_least={at_least}")
        return counters

    async def add_rule(self, part: str, *steps: dict[str, Any]) -> None:
        """Answer messages that contain the text with these steps."""
        await self._call("POST", "/control/rules", {"match": part, "script": list(steps)})

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        async with self._http.request(method, f"{self._url}{path}", json=body) as response:
            assert response.status == 200, f"{method} {path}: {response.status}"
            return await response.json()
