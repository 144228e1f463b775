"""A log that does not answer: requests are refused in time, and everything goes on when it answers again."""

import os
import signal
from pathlib import Path

import aiohttp
import pytest
from anthropic import AsyncAnthropic

from tests.chaos.weather import storm_server
from tests.support.efferent_server import API_KEY, scripted_model
from tests.support.playing import Played, message
from tests.support.raw_api import RawApi


@pytest.mark.timeout(300)
async def test_a_frozen_log_is_answered_529_and_nothing_is_lost(tmp_path: Path) -> None:
    with scripted_model() as url, storm_server(tmp_path, url) as server:
        async with (
            AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client,
            aiohttp.ClientSession() as http,
        ):
            played, raw = await Played.create(client), RawApi(server.base_url, http)
            await played.until_idle(message("before"))
            nats = server.pids()["nats"]
            os.kill(nats, signal.SIGSTOP)
            try:
                refused = await raw.send(played.id, message("into the void"))
                ready = await raw.call("GET", "/readyz")
            finally:
                os.kill(nats, signal.SIGCONT)
            assert (refused.status, refused.error["type"]) == (529, "overloaded_error")
            assert refused.headers.get("x-should-retry") != "false"
            assert ready.status == 503
            async with played.watch() as watch:
                # The refused one may have been written all the same; then its turn has begun.
                await watch.settled(*await played.send(message("after")))
            texts = [event.content[0].text for event in await played.events() if event.type == "user.message"]
            assert texts in (["before", "after"], ["before", "into the void", "after"])
