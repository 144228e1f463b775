"""A data folder that an earlier release left, killed in the middle of a tool call, opens under today's code."""

import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.playing import Played, confirmation, message, of_type, text_of

FIXTURES: Final = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(params=sorted(FIXTURES.glob("data-v*.tar.gz")), ids=lambda path: path.name)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> EfferentServer:
    """A server on a copy of the folder, not yet started."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with tarfile.open(request.param) as packed:
        # As root each sandbox's files keep the user that they belong to.
        keep: Literal["fully_trusted", "data"] = "fully_trusted" if os.geteuid() == 0 else "data"
        packed.extractall(data, numeric_owner=True, filter=keep)  # noqa: S202 - our own file
    return EfferentServer(data)


@pytest.fixture
async def older(opened: EfferentServer) -> AsyncIterator[tuple[AsyncAnthropic, dict[str, Any]]]:
    expected = json.loads((opened.data_dir / "expected.json").read_text())
    opened.start()
    try:
        async with AsyncAnthropic(base_url=opened.base_url, api_key=API_KEY, max_retries=0) as client:
            yield client, expected
    finally:
        assert opened.stop() == 0


@pytest.mark.timeout(300)
async def test_everything_that_was_there_is_there_and_goes_on(
    older: tuple[AsyncAnthropic, dict[str, Any]],
) -> None:
    client, expected = older
    sessions = {name: Played(client, shown["session"]["id"]) for name, shown in expected["sessions"].items()}
    for name in ("finished", "waiting", "large", "archived"):
        shown = expected["sessions"][name]
        listed = [event.to_dict(mode="json") for event in await sessions[name].events()]
        assert listed == shown["events"], name
        now = (await sessions[name].retrieve()).to_dict(mode="json")
        for moving in (now, shown["session"]):
            del moving["stats"]
        assert now == shown["session"], name
    agent = await client.beta.agents.retrieve(expected["agent"]["id"])
    assert agent.to_dict(mode="json") == expected["agent"]
    assert [found.version async for found in client.beta.agents.versions.list(agent.id)] == [3, 2, 1]
    found = {session.id async for session in client.beta.sessions.list(include_archived=True)}
    assert found == {played.id for played in sessions.values()}
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.sessions.retrieve(expected["deleted"])

    # The call that was cut off is answered with an error, once, and its turn ends.
    events = await _when_over(sessions["cut off"])
    began = expected["sessions"]["cut off"]["events"]
    assert [event.to_dict(mode="json") for event in events[: len(began)]] == began
    (result,) = of_type(events, "agent.tool_result")
    assert result.is_error
    assert events[-1].stop_reason.type == "end_turn"

    (use,) = of_type(await sessions["waiting"].events(), "agent.tool_use")
    resumed = await sessions["waiting"].until_idle(confirmation(use.id))
    assert text_of(of_type(resumed, "agent.tool_result")[0]).strip() == "allowed at last"
    kept = await sessions["finished"].until_idle(message("$ cat kept"))
    assert text_of(of_type(kept, "agent.tool_result")[0]).splitlines()[-1] == "made in a sandbox"
    begun = await sessions["cut off"].until_idle(message("$ cat begun"))
    assert text_of(of_type(begun, "agent.tool_result")[0]).splitlines().count("begun") == 1


async def _when_over(played: Played) -> list[Any]:
    async with played.watch() as watch:
        if (await played.retrieve()).status != "idle":
            await watch.until("session.status_idle")
    return await played.events()
