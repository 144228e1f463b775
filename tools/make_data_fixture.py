"""Writes the data folder that later releases must be able to open: ``python -m tools.make_data_fixture``.

Plays sessions of every kind on a server of today's code, kills it in the middle of a tool call, and packs what it left
into ``tests/fixtures/data-v<format>.tar.gz`` together with what the API showed (``expected.json``). Run it once per
format of the data folder and commit the file; a released one is never written again.
"""

import asyncio
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.playing import Played, fresh_name, message, toolset

FIXTURES: Final = Path(__file__).parents[1] / "tests" / "fixtures"
MODEL: Final = "offline/echo"
BYTES_MAX: Final = 300_000
KEPT: Final = ("format", "nats/jetstream", "blobs", "hands/sessions")
"""What cannot be made anew. Projections, sockets, logs and the lock are left out."""


async def play(client: AsyncAnthropic) -> dict[str, Any]:
    """Play the sessions; the last one is in the middle of a call when this returns. What the API shows of them."""
    finished = await Played.create(client, model=MODEL, title="finished", metadata={"kind": "finished"})
    await finished.until_idle(message("hello"))
    await finished.until_idle(message("$ echo made in a sandbox > kept; cat kept"))
    waiting = await Played.create(client, model=MODEL, tools=[toolset("always_ask")])
    await waiting.until_idle(message("$ echo allowed at last"))
    large = await Played.create(client, model=MODEL)
    await large.until_idle(message("large " * 60_000))
    archived = await Played.create(client, model=MODEL)
    await archived.until_idle(message("hello"))
    await client.beta.sessions.archive(archived.id)
    deleted = await Played.create(client, model=MODEL)
    await deleted.until_idle(message("hello"))
    await client.beta.sessions.delete(deleted.id)
    agent_id = (await finished.retrieve()).agent.id
    await client.beta.agents.update(agent_id, system="second")
    await client.beta.agents.update(agent_id, description="third", version=2)
    cut_off = await Played.create(client, model=MODEL)
    async with cut_off.watch() as watch:
        await cut_off.send(message("$ echo begun >> begun; sleep 300"))
        await watch.until("agent.tool_use")
        await watch.until("span.model_request_end")
    sessions = {
        "finished": finished, "waiting": waiting, "large": large, "archived": archived, "cut off": cut_off,
    }  # fmt: skip
    return {
        "sessions": {name: await _shown(played) for name, played in sessions.items()},
        "deleted": deleted.id,
        "agent": (await client.beta.agents.retrieve(agent_id)).to_dict(mode="json"),
    }


async def _shown(played: Played) -> dict[str, Any]:
    session = (await played.retrieve()).to_dict(mode="json")
    return {"session": session, "events": [event.to_dict(mode="json") for event in await played.events()]}


async def _play_on(server: EfferentServer) -> dict[str, Any]:
    async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client:
        return await play(client)


def main() -> int:
    """Make the file. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix=fresh_name("fixture")) as folder:
        server = EfferentServer(Path(folder) / "data")
        server.start()
        try:
            expected = asyncio.run(_play_on(server))
        finally:
            server.kill_everything()
        (server.data_dir / "expected.json").write_text(json.dumps(expected))
        name = f"data-v{(server.data_dir / 'format').read_text().strip()}.tar.gz"
        path = FIXTURES / name
        with tarfile.open(path, "w:gz", compresslevel=9) as packed:
            for part in (*KEPT, "expected.json"):
                packed.add(server.data_dir / part, part)
    size = path.stat().st_size
    print(f"{path}: {size} bytes")
    return 0 if size <= BYTES_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
