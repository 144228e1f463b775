"""Sessions on self-hosted environments, served by the official SDK's worker."""

from pathlib import Path

import pytest
from anthropic import AsyncAnthropic

from tests.support.playing import bash, of_type, scripted, text_of
from tests.support.raw_api import RawApi
from tests.support.self_hosting import SelfHosted


@pytest.fixture
async def hosted(client: AsyncAnthropic, raw: RawApi) -> SelfHosted:
    return await SelfHosted.create(client, raw)


async def test_a_worker_runs_the_calls_of_a_session_end_to_end(hosted: SelfHosted, tmp_path: Path) -> None:
    played = await hosted.session()
    async with hosted.worker(tmp_path / "work"), played.watch() as watch:
        await played.send(scripted(bash("echo from $PWD > note; cat note"), {"text": "done"}))
        idle = await watch.until("session.status_idle", count=2)
        assert idle.stop_reason.type == "end_turn"
        stopped = await hosted.until_state(played.id, "stopped")
    events = await played.events()
    (use,) = of_type(events, "agent.tool_use")
    (result,) = of_type(events, "user.tool_result")
    assert result.tool_use_id == use.id
    assert text_of(result).strip() == f"from {tmp_path / 'work'}"
    assert of_type(events, "agent.tool_result") == []
    assert (stopped["acknowledged_at"] or "") < stopped["started_at"] < stopped["stopped_at"]
    assert stopped["secret"] is None
