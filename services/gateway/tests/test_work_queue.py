"""The work queue of a self-hosted environment over HTTP, by a clock that the tests move."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.tests.gateway_rig import ServerAddress
from services.gateway.tests.work_rig import Queue, queue_on, token_of


@pytest.fixture
async def queue(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Queue]:
    async with queue_on(nats_address, tmp_path / "data") as made:
        yield made


async def test_a_new_session_is_work_that_a_poll_after_it_finds(queue: Queue) -> None:
    session_id = await queue.session()
    item = await queue.poll()
    assert item["data"] == {"type": "session", "id": session_id}
    assert (item["type"], item["state"], item["environment_id"]) == ("work", "queued", queue.environment_id)
    assert token_of(item).startswith("sk-ant-")
    assert await queue.poll() is None


async def test_an_empty_poll_is_answered_null(queue: Queue) -> None:
    answer = await queue.call("GET", f"{queue.path}/poll", bearer=queue.environment_key)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", None)
