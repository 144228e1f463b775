"""Creating sessions."""

from pathlib import Path

from services.gateway.tests.session_api import api, message


async def test_a_session_pins_its_agent_and_starts_idle(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        agent = await made.client.beta.agents.create(name="tester", model="offline/echo")
        environment = await made.client.beta.environments.create(name="testing")
        session = await made.client.beta.sessions.create(
            agent=agent.id, environment_id=environment.id, title="first", metadata={"a": "1"}
        )
        assert session.status == "idle"
        assert session.agent.id == agent.id
        assert session.agent.version == 1
        again = await made.client.beta.sessions.retrieve(session.id)
        assert again.title == "first"
        assert again.metadata == {"a": "1"}


async def test_initial_events_start_the_session_running(tmp_path: Path) -> None:
    async with api(tmp_path) as made:
        session = await made.session(initial_events=[message("go")])
        assert session["status"] == "running"
