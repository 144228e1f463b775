"""Workers of self-hosted environments when the way to the server fails them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer
from tests.support.faulty_proxy import FaultyProxy, Trouble, faulty_proxy
from tests.support.playing import bash, scripted
from tests.support.raw_api import RawApi
from tests.support.self_hosting import DEADLINE_S, SelfHosted, answers, until
from tests.support.webhook_receiver import Received, receiving

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def hosted(client: AsyncAnthropic, raw: RawApi) -> SelfHosted:
    return await SelfHosted.create(client, raw)


@asynccontextmanager
async def through_a_proxy(
    hosted: SelfHosted, server: EfferentServer, http: aiohttp.ClientSession
) -> AsyncIterator[tuple[SelfHosted, FaultyProxy]]:
    """The same environment, seen through a proxy."""
    async with (
        faulty_proxy(server.base_url, http) as proxy,
        AsyncAnthropic(base_url=proxy.url, api_key=API_KEY, max_retries=0) as client,
    ):
        yield replace(hosted, client=client), proxy


async def test_a_worker_gets_over_a_busy_server_and_loses_no_result(
    hosted: SelfHosted, server: EfferentServer, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    played = await hosted.session(initial_events=[scripted(bash(f"echo x >> {mark}; echo ran"), {"text": "done"})])
    async with through_a_proxy(hosted, server, http) as (seen, proxy):
        proxy.troubles += [
            Trouble("GET", "/work/poll", 429),
            Trouble("POST", "/ack", 503),
            Trouble("GET", "/events/stream", 529),
            Trouble("POST", "/heartbeat", 503),
            Trouble("POST", "/events", 429),
            Trouble("POST", "/events", 503, is_passed_on=True),
        ]
        async with seen.worker(tmp_path / "work"):
            await hosted.until_state(played.id, "stopped")
        assert proxy.troubles == []
    assert [(text, is_error) for _, text, is_error in await answers(played)] == [("ran", False)]
    assert mark.read_text() == "x\n"
    assert len(await hosted.items_of(played.id)) == 1


async def test_a_worker_goes_on_when_every_service_was_killed_under_it(
    hosted: SelfHosted, server: EfferentServer, tmp_path: Path
) -> None:
    mark, release = tmp_path / "mark", tmp_path / "release"
    call = bash(f"echo x >> {mark}; until [ -e {release} ]; do sleep 0.05; done; echo ran")
    played = await hosted.session(initial_events=[scripted(call, {"text": "done"})])
    async with hosted.worker(tmp_path / "work"):
        await until(mark.exists)
        for service in ("brain", "automation", "nats", "gateway"):
            await asyncio.to_thread(server.kill, service)
        await asyncio.to_thread(server.wait_ready)
        release.touch()
        await hosted.until_state(played.id, "stopped")
    assert [(text, is_error) for _, text, is_error in await answers(played)] == [("ran", False)]
    assert mark.read_text() == "x\n"
    assert len(await hosted.items_of(played.id)) == 1


async def test_a_lost_webhook_is_made_good_by_the_next_one(hosted: SelfHosted) -> None:
    """Whoever is woken drains the queue: the work of a delivery that never came is there too."""
    first, second = await hosted.session(), await hosted.session()
    polled: list[str] = []
    drained = asyncio.Event()

    def answer(received: Received) -> web.Response:
        if received.event["data"]["id"] == second.id:
            draining.append(asyncio.create_task(drain()))
        return web.Response(status=204)

    async def drain() -> None:
        poller = hosted.client.beta.environments.work.poller(
            environment_id=hosted.environment_id,
            environment_key=hosted.key,
            drain=True,
            auto_stop=False,
            block_ms=None,
            reclaim_older_than_ms=2_000,
        )
        polled.extend([item.data.id async for item in poller])
        drained.set()

    draining: list[asyncio.Task[None]] = []
    wanted: list[Any] = ["session.status_run_started"]
    async with receiving(answer) as receiver:
        webhooks = hosted.client.beta.organization.webhooks
        endpoint = await webhooks.create(url=receiver.url(), enabled_events=wanted)
        try:
            await first.send(scripted(bash("true"), {"text": "done"}))
            await receiver.until(where=lambda received: received.event["data"]["id"] == first.id)
            assert polled == []
            await second.send(scripted(bash("true"), {"text": "done"}))
            async with asyncio.timeout(DEADLINE_S):
                await drained.wait()
        finally:
            await webhooks.delete(endpoint.id)
            await asyncio.gather(*draining)
    assert polled == [first.id, second.id]
