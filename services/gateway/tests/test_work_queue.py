"""The work queue of a self-hosted environment over HTTP, by a clock that the tests move."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from services.gateway.tests.gateway_rig import ServerAddress
from services.gateway.tests.work_rig import Queue, queue_on, token_of

TTL_S = 300


@pytest.fixture
async def queue(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Queue]:
    async with queue_on(nats_address, tmp_path / "data") as made:
        yield made


async def test_a_new_session_is_work_that_a_poll_after_it_finds(queue: Queue) -> None:
    session_id = await queue.session()
    item = await queue.poll()
    assert item["data"] == {"type": "session", "id": session_id}
    assert (item["type"], item["state"], item["environment_id"]) == ("work", "queued", queue.environment_id)
    assert item["metadata"] == {}
    assert token_of(item).startswith("sk-ant-")
    assert await queue.poll() is None


async def test_an_empty_poll_is_answered_null(queue: Queue) -> None:
    answer = await queue.call("GET", f"{queue.path}/poll", bearer=queue.environment_key)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "application/json", None)


async def test_sessions_on_cloud_environments_are_no_work(queue: Queue) -> None:
    cloud = await queue.ok("POST", "/v1/environments", {"name": "cloud"})
    await queue.ok("POST", "/v1/sessions", {"agent": queue.agent_id, "environment_id": cloud["id"]})
    assert await queue.poll() is None
    answer = await queue.call("GET", f"/v1/environments/{cloud['id']}/work/poll")
    assert answer.error == (
        400,
        "invalid_request_error",
        f"Environment {cloud['id']} is not a self-hosted environment: it has no work queue.",
    )


async def test_items_come_in_the_order_of_their_sessions(queue: Queue) -> None:
    sessions = [await queue.session() for _ in range(3)]
    assert [(await queue.poll())["data"]["id"] for _ in sessions] == sessions


async def test_a_waiting_poll_is_answered_when_work_comes(queue: Queue) -> None:
    polling = asyncio.create_task(queue.poll("?block_ms=999"))
    await queue.served.call("GET", f"{queue.path}/stats")  # the poll is under way when this is answered
    session_id = await queue.session()
    assert (await polling)["data"]["id"] == session_id


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("block_ms=0", "block_ms: must be between 1 and 999"),
        ("block_ms=1000", "block_ms: must be between 1 and 999"),
        ("block_ms=soon", 'block_ms: "soon" is not a valid integer'),
        ("reclaim_older_than_ms=-1", "reclaim_older_than_ms: must be between 0 and 86400000"),
        ("block_ms=1&block_ms=2", "block_ms: given more than once"),
    ],
)
async def test_a_poll_with_wrong_options_is_refused(queue: Queue, query: str, message: str) -> None:
    answer = await queue.call("GET", f"{queue.path}/poll?{query}", bearer=queue.environment_key)
    assert answer.error == (400, "invalid_request_error", message)


async def test_what_is_not_acknowledged_is_offered_again_with_another_secret(queue: Queue) -> None:
    await queue.session()
    first = await queue.poll()
    queue.clock.advance(4)
    assert await queue.poll() is None
    second = await queue.poll("?reclaim_older_than_ms=2000")
    assert second["id"] == first["id"]
    assert second["secret"] != first["secret"]
    queue.clock.advance(5)
    assert (await queue.poll())["id"] == first["id"]


async def test_an_acknowledged_item_has_minutes_until_its_first_heartbeat(queue: Queue) -> None:
    await queue.session()
    item = await queue.poll()
    acked = await queue.item(item["id"], "ack")
    assert (acked.body["state"], acked.body["secret"]) == ("starting", None)
    assert acked.body["acknowledged_at"]
    queue.clock.advance(TTL_S - 1)
    assert await queue.poll("?reclaim_older_than_ms=0") is None
    queue.clock.advance(1)
    assert (await queue.poll())["id"] == item["id"]


async def test_heartbeats_hold_the_lease(queue: Queue) -> None:
    item, last, _ = await queue.active()
    for _ in range(3):
        queue.clock.advance(TTL_S - 1)
        beat = await queue.beat(item["id"], quote(last))
        assert beat.body == {
            "type": "work_heartbeat",
            "last_heartbeat": beat.body["last_heartbeat"],
            "lease_extended": True,
            "state": "active",
            "ttl_seconds": TTL_S,
        }
        last = beat.body["last_heartbeat"]
    shown = await queue.ok("GET", f"{queue.path}/{item['id']}")
    assert (shown["state"], shown["latest_heartbeat_at"]) == ("active", last)


async def test_a_heartbeat_that_expects_another_one_is_told_the_lease_as_it_is(queue: Queue) -> None:
    item, last, _ = await queue.active()
    refused = await queue.beat(item["id"], "NO_HEARTBEAT")
    assert refused.error[:2] == (412, "invalid_request_error")
    assert refused.body["error"]["details"] == {
        "error_code": "heartbeat_precondition_failed",
        "current_state": {"state": "active", "ttl_seconds": TTL_S, "last_heartbeat": last, "lease_extended": False},
    }
    assert refused.headers["x-should-retry"] == "false"


async def test_a_worker_may_ask_for_a_shorter_lease(queue: Queue) -> None:
    item, last, _ = await queue.active()
    beat = await queue.beat(item["id"], quote(last), more="&desired_ttl_seconds=10")
    assert beat.body["ttl_seconds"] == 10
    queue.clock.advance(11)
    assert (await queue.poll())["id"] == item["id"]


@pytest.mark.parametrize(("desired_s", "given_s"), [("1", 2), ("3600", 3_600), ("86400", 3_600)])
async def test_a_lease_is_kept_within_bounds(queue: Queue, desired_s: str, given_s: int) -> None:
    item, last, _ = await queue.active()
    beat = await queue.beat(item["id"], quote(last), more=f"&desired_ttl_seconds={desired_s}")
    assert (beat.status, beat.body["ttl_seconds"]) == (200, given_s)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("desired_ttl_seconds=0", "desired_ttl_seconds: must be between 1 and 2147483647"),
        ("desired_ttl_seconds=long", 'desired_ttl_seconds: "long" is not a valid integer'),
        ("expected_last_heartbeat=" + "x" * 65, "expected_last_heartbeat: must be at most 64 characters long"),
    ],
)
async def test_a_heartbeat_with_wrong_values_is_refused(queue: Queue, query: str, message: str) -> None:
    item, _, _ = await queue.active()
    assert (await queue.item(item["id"], f"heartbeat?{query}")).error == (400, "invalid_request_error", message)


async def test_sessions_of_an_archived_environment_go_on_and_those_of_a_deleted_one_do_not(queue: Queue) -> None:
    session_id = await queue.session()
    await queue.ok("POST", f"/v1/environments/{queue.environment_id}/archive")
    item = await queue.poll()
    assert item["data"]["id"] == session_id
    assert (await queue.item(item["id"], "ack")).status == 200
    assert (await queue.beat(item["id"], "NO_HEARTBEAT", bearer=token_of(item))).status == 200
    await queue.ok("DELETE", f"/v1/environments/{queue.environment_id}")
    assert (await queue.served.call("GET", f"{queue.path}/poll")).error == (
        404,
        "not_found_error",
        "Environment not found.",
    )
    revoked = (401, "authentication_error", "Authentication failed")
    assert (await queue.call("GET", f"{queue.path}/poll", bearer=queue.environment_key)).error == revoked
    assert (await queue.item(item["id"], "stop", bearer=token_of(item))).error == revoked


async def test_when_a_lease_runs_out_the_next_worker_has_the_item_and_the_former_is_told(queue: Queue) -> None:
    item, last, token = await queue.active()
    queue.clock.advance(TTL_S)
    assert (await queue.ok("GET", f"{queue.path}/{item['id']}"))["state"] == "queued"
    for bearer in (queue.environment_key, token):
        lost = await queue.beat(item["id"], quote(last), bearer=bearer)
        assert lost.status == 412
        assert lost.body["error"]["details"]["current_state"]["state"] == "queued"
    again = await queue.poll()
    assert again["id"] == item["id"]
    assert (await queue.beat(item["id"], "NO_HEARTBEAT", bearer=token)).status == 412
    mine = await queue.beat(item["id"], "NO_HEARTBEAT", bearer=token_of(again))
    assert mine.body["lease_extended"] is True
    assert (await queue.beat(item["id"], quote(last), bearer=token)).status == 412
    stopped = await queue.item(item["id"], "stop", {"force": True}, bearer=token)
    assert stopped.error == (409, "conflict_error", f"work {item['id']} belongs to another worker by now")
    assert (await queue.ok("GET", f"{queue.path}/{item['id']}"))["state"] == "active"


async def test_a_graceful_stop_reaches_the_worker_with_its_next_heartbeat(queue: Queue) -> None:
    item, last, token = await queue.active()
    asked = await queue.ok("POST", f"{queue.path}/{item['id']}/stop", {})
    assert (asked["state"], asked["stopped_at"]) == ("stopping", None)
    assert asked["stop_requested_at"]
    beat = await queue.beat(item["id"], quote(last), bearer=token)
    assert (beat.status, beat.body["state"], beat.body["lease_extended"]) == (200, "stopping", False)
    confirmed = await queue.item(item["id"], "stop", {"force": True}, bearer=token)
    assert (confirmed.body["state"], confirmed.body["stop_requested_at"]) == ("stopped", asked["stop_requested_at"])
    again = await queue.item(item["id"], "stop", {"force": True}, bearer=token)
    assert again.error == (409, "conflict_error", f"work {item['id']} is already stopped")
    assert (await queue.beat(item["id"], quote(last))).body["state"] == "stopped"


async def test_a_stop_needs_no_body(queue: Queue) -> None:
    await queue.session()
    item = await queue.poll()
    assert (await queue.item(item["id"], "stop")).body["state"] == "stopped"
    wrong = await queue.item(item["id"], "stop", {"force": "yes"})
    assert wrong.error == (400, "invalid_request_error", "Failed to parse request: force: must be a boolean")


async def test_new_input_after_a_stop_is_new_work(queue: Queue) -> None:
    item, _, token = await queue.active()
    session_id = item["data"]["id"]
    assert (await queue.item(item["id"], "stop", {"force": True}, bearer=token)).status == 200
    assert await queue.poll() is None
    message = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
    await queue.ok("POST", f"/v1/sessions/{session_id}/events", {"events": [message]})
    following = await queue.poll()
    assert following["data"]["id"] == session_id
    assert following["id"] != item["id"]


async def test_an_interrupt_queues_work_again_although_the_session_is_idle(queue: Queue) -> None:
    item, _, token = await queue.active()
    session_id = item["data"]["id"]
    await queue.item(item["id"], "stop", {"force": True}, bearer=token)
    await queue.ok("POST", f"/v1/sessions/{session_id}/events", {"events": [{"type": "user.interrupt"}]})
    assert (await queue.poll())["data"]["id"] == session_id


async def test_input_for_a_session_with_live_work_makes_no_second_item(queue: Queue) -> None:
    item, last, _ = await queue.active()
    message = {"type": "user.message", "content": [{"type": "text", "text": "hello"}]}
    for _ in range(3):
        await queue.ok("POST", f"/v1/sessions/{item['data']['id']}/events", {"events": [message]})
    assert await queue.poll() is None
    assert (await queue.beat(item["id"], quote(last))).status == 200


@pytest.mark.parametrize("end", ["archive", "delete"])
async def test_the_work_of_a_session_that_is_over_is_never_offered(queue: Queue, end: str) -> None:
    session_id = await queue.session()
    if end == "archive":
        await queue.ok("POST", f"/v1/sessions/{session_id}/archive")
    else:
        await queue.ok("DELETE", f"/v1/sessions/{session_id}")
    assert await queue.poll() is None
    (item,) = (await queue.ok("GET", queue.path))["data"]
    assert item["state"] == "stopped"


async def test_statistics_follow_the_queue(queue: Queue) -> None:
    empty = {"type": "work_queue_stats", "depth": 0, "pending": 0, "oldest_queued_at": None, "workers_polling": 0}
    assert await queue.ok("GET", f"{queue.path}/stats") == empty
    await queue.session()
    await queue.session()
    (newest, oldest) = (await queue.ok("GET", queue.path))["data"]
    assert newest["created_at"] >= oldest["created_at"]

    async def stats() -> tuple[int, int, str | None, int]:
        found = await queue.ok("GET", f"{queue.path}/stats", bearer=queue.environment_key)
        return found["depth"], found["pending"], found["oldest_queued_at"], found["workers_polling"]

    assert await stats() == (2, 0, oldest["created_at"], 0)
    first = await queue.poll(worker_id="one")
    assert await stats() == (1, 1, oldest["created_at"], 1)
    await queue.item(first["id"], "ack")
    assert await stats() == (1, 0, newest["created_at"], 1)
    second = await queue.poll(worker_id="two")
    await queue.item(second["id"], "ack")
    await queue.poll(worker_id="two")
    assert await stats() == (0, 0, None, 2)
    queue.clock.advance(30)
    assert await stats() == (0, 0, None, 0)


async def test_metadata_is_merged(queue: Queue) -> None:
    await queue.session()
    item = await queue.poll()
    path = f"{queue.path}/{item['id']}"
    assert (await queue.ok("POST", path, {"metadata": {"a": "1", "b": "2"}}))["metadata"] == {"a": "1", "b": "2"}
    changed = await queue.ok("POST", path, {"metadata": {"a": None, "c": "3"}})
    assert changed["metadata"] == {"b": "2", "c": "3"}
    assert changed["secret"] is None
    assert (await queue.ok("POST", path, {"metadata": {}}))["metadata"] == {"b": "2", "c": "3"}
    for body, problem in (({}, "field is required"), ({"metadata": None}, "must be an object")):
        refused = await queue.call("POST", path, body)
        assert refused.error == (400, "invalid_request_error", f"Failed to parse request: metadata: {problem}")
    many = {str(number): "x" for number in range(15)}
    refused = await queue.call("POST", path, {"metadata": many})
    assert refused.error == (400, "invalid_request_error", "metadata: at most 16 pairs are allowed")


async def test_lists_are_paged_newest_first(queue: Queue) -> None:
    made = []
    for _ in range(5):
        made.append(await queue.session())
        queue.clock.advance(1)
    seen, page = [], ""
    while True:
        found = await queue.ok("GET", f"{queue.path}?limit=2{page}", bearer=queue.environment_key)
        seen += [item["data"]["id"] for item in found["data"]]
        if found["next_page"] is None:
            break
        page = f"&page={found['next_page']}"
    assert seen == made[::-1]
    refused = await queue.call("GET", f"{queue.path}?page=nonsense")
    assert refused.error == (400, "invalid_request_error", "invalid page cursor")


async def test_unknown_items_are_not_found(queue: Queue) -> None:
    for action in ("ack", "heartbeat", "stop"):
        answer = await queue.item("work_unknown", action)
        assert answer.error == (404, "not_found_error", "Work item not found.")
    wrong = await queue.call("GET", f"{queue.path}/nonsense")
    assert wrong.error == (400, "invalid_request_error", "Invalid work ID.")


async def test_twenty_polls_at_once_share_ten_items(queue: Queue) -> None:
    sessions = {await queue.session() for _ in range(10)}
    answers = await asyncio.gather(*(queue.poll() for _ in range(20)))
    claimed = [item["data"]["id"] for item in answers if item is not None]
    assert sorted(claimed) == sorted(sessions)


async def test_queues_survive_their_gateway(nats_address: ServerAddress, tmp_path: Path) -> None:
    async with queue_on(nats_address, tmp_path / "a") as one, queue_on(nats_address, tmp_path / "b") as other:
        item, last, token = await one.active()
        waiting = await one.session()
        other.environment_id, other.environment_key = one.environment_id, one.environment_key
        assert (await other.beat(item["id"], quote(last), bearer=token)).status == 200
        assert (await other.poll())["data"]["id"] == waiting
        assert await one.poll() is None
        await one.poll(worker_id="here")
        stats = await other.call("GET", f"{other.path}/stats", bearer=other.environment_key)
        assert stats.body["pending"] == 1
    async with queue_on(nats_address, tmp_path / "c") as later:
        later.environment_id, later.environment_key = one.environment_id, one.environment_key
        later.clock.advance(TTL_S + 1)
        found = {(await later.poll())["data"]["id"] for _ in range(2)}
        assert found == {item["data"]["id"], waiting}
