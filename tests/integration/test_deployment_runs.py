"""A deployment on the whole server: its run is a session that works, and it goes with its agent."""

import asyncio
from collections.abc import Awaitable, Callable

from anthropic import AsyncAnthropic

WITHIN_S = 40


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask the server until it says yes."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            if await check():
                return
            await asyncio.sleep(0.05)


async def test_a_run_works_as_a_session_and_the_deployment_goes_with_its_agent(client: AsyncAnthropic) -> None:
    beta = client.beta
    agent = await beta.agents.create(name="a", model="offline/demo")
    environment = await beta.environments.create(name=f"of {agent.id}")
    deployment = await beta.deployments.create(
        name="nightly",
        agent=agent.id,
        environment_id=environment.id,
        initial_events=[{"type": "user.message", "content": [{"type": "text", "text": "hello"}]}],
        schedule={"type": "cron", "expression": "0 0 1 1 *", "timezone": "UTC"},
    )
    run = await beta.deployments.run(deployment.id)
    assert run.session_id is not None
    session_id = run.session_id

    async def is_idle() -> bool:
        return (await beta.sessions.retrieve(session_id)).status == "idle"

    async def is_archived() -> bool:
        return (await beta.deployments.retrieve(deployment.id)).archived_at is not None

    await until(is_idle)
    kinds = [event.type async for event in beta.sessions.events.list(run.session_id)]
    assert {"user.message", "agent.message"} <= set(kinds)
    listed = [found.id async for found in beta.sessions.list(deployment_id=deployment.id)]
    assert listed == [run.session_id]
    await beta.agents.archive(agent.id)
    await until(is_archived)
