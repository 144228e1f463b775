"""Deliveries: attempts, retries, what disables an endpoint, and that endpoints do not disturb each other."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from standardwebhooks import WebhookVerificationError

from efferent.automation.webhooks import reactor
from efferent.automation.webhooks.delivery import Delivering
from efferent.automation.webhooks.emission import AGE_MAX_S
from efferent.common.domain import timestamp
from efferent.common.domain.control.webhook_endpoint import UpdateEndpoint
from efferent.common.domain.ids import WorkspaceId
from efferent.common.domain.webhook_retries import FAILING_S, GIVEN_UP_MAX, FailureStreak
from efferent.common.jetstream.connection import Connection
from efferent.common.jetstream.webhook_queue import FailureStreaks, WebhookQueue
from efferent.common.ports import LogConflict
from efferent.common.runtime.settings import NatsSettings
from efferent.common.testing.fake_clock import FakeClock
from services.automation.tests.webhooks.rig import (
    ORGANIZATION,
    WITHIN_S,
    Webhooks,
    eventually,
    running,
    started,
    until_empty,
)
from tests.support.webhook_receiver import Received, Receiver, receiving

WORKSPACE = WorkspaceId("wrkspc_aaaaaaaa")
FAR = "2999-01-01T00:00:00"
QUICK = 0.01


async def agent_changed(webhooks: Webhooks, number: int = 1, *, at: str = FAR) -> str:
    """A control record as another service writes it; the id of the resource."""
    identifier = f"agent_{number}"
    payload = (
        f'{{"v":1,"type":"agent.updated","at":"{at}.{number:06d}Z","workspace_id":"{WORKSPACE}","actor":null,'
        f'"data":{{"id":"{identifier}"}}}}'
    ).encode()
    last = await webhooks.desk.control.last(f"control.agent.{identifier}")
    await webhooks.desk.control.append(
        f"control.agent.{identifier}", payload, expected=last.sequence if last is not None else 0
    )
    return identifier


def status(code: int, **headers: str) -> Any:
    """Always answers with this status."""
    return lambda _: web.Response(status=code, headers=headers)


async def until_disabled(webhooks: Webhooks, endpoint_id: str) -> str:
    """Wait until the platform has disabled the endpoint; the reason."""

    async def look() -> str | None:
        endpoint = await webhooks.read(endpoint_id)
        return endpoint.disabled_reason if endpoint.state == "disabled" else None

    return await eventually(look)


async def until_streak(connection: Connection, endpoint_id: str, given_up: int) -> None:
    """Wait until so many deliveries in a row were given up."""

    async def look() -> bool | None:
        streak, _ = await FailureStreaks(connection).read(endpoint_id)
        return True if (0 if streak is None else streak.given_up) == given_up else None

    await eventually(look)


async def test_an_event_arrives_signed(connection: Connection, nats: NatsSettings, tmp_path: Path) -> None:
    async with receiving() as receiver, running(connection, nats, tmp_path) as webhooks:
        _, secret = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        [received] = await receiver.until()
        event = received.unwrap(secret)
        assert (event.data.type, event.data.id) == ("agent.updated", "agent_1")
        assert (event.data.organization_id, event.data.workspace_id) == (ORGANIZATION, WORKSPACE)


async def test_each_attempt_has_the_same_id_and_body_and_a_time_of_its_own(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    answers = [503, 500, 202]

    def answer(_: Received) -> web.StreamResponse:
        clock.advance(7)
        return web.Response(status=answers.pop(0))

    async with (
        receiving(answer) as receiver,
        running(connection, nats, tmp_path, clock=clock, retry_scale=QUICK) as webhooks,
    ):
        made, _ = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        attempts = await receiver.until(count=3)
        await until_empty(connection, made.id)
    assert len({attempt.headers["webhook-id"] for attempt in attempts}) == 1
    assert len({attempt.body for attempt in attempts}) == 1
    times = [int(attempt.headers["webhook-timestamp"]) for attempt in attempts]
    assert [later - times[0] for later in times] == [0, 7, 14]
    assert len({attempt.headers["webhook-signature"] for attempt in attempts}) == 3


async def test_after_three_attempts_a_delivery_is_given_up(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with (
        receiving(status(500)) as receiver,
        running(connection, nats, tmp_path, retry_scale=QUICK) as webhooks,
    ):
        made, _ = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        await until_streak(connection, made.id, 1)
        await agent_changed(webhooks, 2)
        await until_streak(connection, made.id, 2)
        await until_empty(connection, made.id)
        assert len(receiver.received) == 6
        assert (await webhooks.read(made.id)).state == "enabled"


async def test_a_defect_does_not_end_the_care_for_new_endpoints(
    connection: Connection, nats: NatsSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactor, "ADJUST_AGAIN_S", QUICK)
    async with receiving() as receiver, running(connection, nats, tmp_path) as webhooks:
        adjust, failures = Delivering.adjust, [RuntimeError("a defect")]

        async def failing_once(self: Delivering) -> None:
            if failures:
                raise failures.pop()
            await adjust(self)

        monkeypatch.setattr(Delivering, "adjust", failing_once)
        await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        await receiver.until()
        assert not failures


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_disables_at_once_and_is_not_followed(
    connection: Connection, nats: NatsSettings, tmp_path: Path, code: int
) -> None:
    async with receiving() as receiver, running(connection, nats, tmp_path) as webhooks:
        receiver.answer = status(code, location=receiver.url("/elsewhere"))
        made, _ = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        reason = await until_disabled(webhooks, made.id)
        assert reason == f"The endpoint answered with a redirect (HTTP {code})."
        await agent_changed(webhooks, 2)
        await until_empty(connection, made.id)
        assert [request.path for request in receiver.received] == ["/hook"]


async def test_a_host_that_resolves_to_a_private_address_disables_at_once(
    connection: Connection, nats: NatsSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    async with running(connection, nats, tmp_path) as webhooks:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        made, _ = await webhooks.endpoint("https://hooks.example/in")
        await agent_changed(webhooks)
        reason = await until_disabled(webhooks, made.id)
        monkeypatch.undo()
        assert reason == "The URL's host resolves to an address that is not public."


async def test_a_url_that_the_operator_no_longer_allows_disables_at_once(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with receiving() as receiver, running(connection, nats, tmp_path, allow="") as webhooks:
        made, _ = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        assert await until_disabled(webhooks, made.id) == "The URL must be an https:// URL."
        assert receiver.received == []


async def test_a_dead_endpoint_does_not_hold_up_another(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(256)
        async with (
            receiving() as receiver,
            running(connection, nats, tmp_path, attempt_s=60.0) as webhooks,
        ):
            await webhooks.endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}/")
            _, secret = await webhooks.endpoint(receiver.url())
            for number in range(40):
                await agent_changed(webhooks, number)
            received = await receiver.until(count=40)  # long before the dead one is given up
            assert len({request.unwrap(secret).id for request in received}) == 40


async def test_an_endpoint_that_does_not_answer_in_time_is_tried_again(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        async with running(connection, nats, tmp_path, attempt_s=0.1, retry_scale=QUICK) as webhooks:
            made, _ = await webhooks.endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}/")
            await agent_changed(webhooks)
            await until_streak(connection, made.id, 1)
            await until_empty(connection, made.id)


async def test_an_answer_without_end_is_not_read(connection: Connection, nats: NatsSettings, tmp_path: Path) -> None:
    written = 0
    pouring_began, pouring_ended = asyncio.Event(), asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        pouring_began.set()
        try:
            while True:
                writer.write(b"x" * 65_536)
                written += 65_536
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            pouring_ended.set()

    pouring = await asyncio.start_server(pour, "127.0.0.1", 0)
    async with pouring, running(connection, nats, tmp_path) as webhooks:
        made, _ = await webhooks.endpoint(f"http://127.0.0.1:{pouring.sockets[0].getsockname()[1]}/")
        await agent_changed(webhooks)
        await pouring_began.wait()
        await until_empty(connection, made.id)
        async with asyncio.timeout(WITHIN_S):
            await pouring_ended.wait()
        assert written < 32 * 1024 * 1024
        assert (await FailureStreaks(connection).read(made.id))[0] is None


async def test_what_waits_for_a_retry_survives_the_process(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with receiving(status(503)) as receiver:
        first = await started(connection, nats, tmp_path, retry_scale=0.2)
        _, secret = await first.endpoint(receiver.url())
        await agent_changed(first)
        await receiver.until()
        await first.end()
        receiver.answer = status(200)
        async with running(connection, nats, tmp_path):
            again = await receiver.until(count=2)
        assert again[1].unwrap(secret).id == again[0].id


async def test_replicas_share_the_work(connection: Connection, nats: NatsSettings, tmp_path: Path) -> None:
    async with (
        receiving() as receiver,
        running(connection, nats, tmp_path) as one,
        running(connection, nats, tmp_path),
    ):
        made, _ = await one.endpoint(receiver.url())
        for number in range(30):
            await agent_changed(one, number)
        await receiver.until(count=30)
        await until_empty(connection, made.id)
        assert len({request.id for request in receiver.received}) == len(receiver.received) == 30


async def test_a_disabled_endpoint_gets_nothing_and_what_it_missed_is_not_made_up_for(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with (
        receiving() as receiver,
        running(connection, nats, tmp_path, clock=clock) as webhooks,
    ):
        made, _ = await webhooks.endpoint(receiver.url())
        other, _ = await webhooks.endpoint(receiver.url("/other"))
        await webhooks.change(made.id, UpdateEndpoint(state="disabled"))
        await agent_changed(webhooks, 1, at="2026-01-01T00:10:00")
        await receiver.until(where=lambda request: request.path == "/other")
        clock.advance(3_600)
        enabled = await webhooks.change(made.id, UpdateEndpoint(state="enabled"))
        assert (enabled.state, enabled.disabled_reason) == ("enabled", "")
        await agent_changed(webhooks, 2, at="2026-01-01T00:20:00")
        await agent_changed(webhooks, 3, at="2026-01-01T01:30:00")
        await receiver.until(count=3, where=lambda request: request.path == "/other")
        await receiver.until(where=lambda request: request.path == "/hook")
        await until_empty(connection, made.id)
        await until_empty(connection, other.id)
        got = [request.event["data"]["id"] for request in receiver.received if request.path == "/hook"]
        assert got == ["agent_3"]


async def test_a_deleted_endpoint_leaves_nothing_behind(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with receiving(status(500)) as receiver, running(connection, nats, tmp_path) as webhooks:
        made, _ = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        await receiver.until()
        await webhooks.secrets.delete(None, made.id)

        async def is_closed() -> bool | None:
            return None if made.id in await WebhookQueue(connection).opened() else True

        await eventually(is_closed)
        assert await WebhookQueue(connection).waiting(made.id) == 0
        assert len(receiver.received) == 1


async def test_an_endpoint_deleted_while_nobody_was_there_is_cleaned_up_at_the_next_start(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with receiving(status(500)) as receiver:
        first = await started(connection, nats, tmp_path)
        made, _ = await first.endpoint(receiver.url())
        await agent_changed(first)
        await receiver.until()
        await first.end()
        await first.secrets.delete(None, made.id)
        async with running(connection, nats, tmp_path):
            assert made.id not in await WebhookQueue(connection).opened()
            assert await WebhookQueue(connection).waiting(made.id) == 0


async def test_a_replaced_secret_is_worth_nothing_from_the_next_attempt_on(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    replaced = asyncio.Event()

    async def fail_once_it_is_replaced(_: Received) -> web.StreamResponse:
        await replaced.wait()
        return web.Response(status=500)

    async with (
        receiving(fail_once_it_is_replaced) as receiver,
        running(connection, nats, tmp_path, retry_scale=QUICK) as webhooks,
    ):
        made, old = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        await receiver.until()
        new = await webhooks.secrets.replace(None, made.id)
        receiver.answer = status(200)
        replaced.set()
        first, second = await receiver.until(count=2)
        assert first.unwrap(old).id == second.unwrap(new).id
        with pytest.raises(WebhookVerificationError):
            second.unwrap(old)


async def test_an_endpoint_that_keeps_failing_for_an_hour_is_disabled(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with (
        receiving(status(500)) as receiver,
        running(connection, nats, tmp_path, clock=clock, retry_scale=QUICK) as webhooks,
    ):
        made, _ = await webhooks.endpoint(receiver.url())
        for number in range(GIVEN_UP_MAX):
            await agent_changed(webhooks, number)
        await until_streak(connection, made.id, GIVEN_UP_MAX)
        assert (await webhooks.read(made.id)).state == "enabled"
        clock.advance(FAILING_S)
        await agent_changed(webhooks, GIVEN_UP_MAX)
        assert await until_disabled(webhooks, made.id) == "Deliveries kept failing; the last one: HTTP 500."


async def test_deliveries_given_up_at_the_same_time_are_each_counted(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with running(connection, nats, tmp_path):
        first = FailureStreak(given_up=1, since=timestamp.from_epoch_us(FakeClock().now_us()))
        streaks = FailureStreaks(connection)
        writes = (streaks.write("whep_1", first, expected=0) for _ in range(4))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert sum(isinstance(outcome, LogConflict) for outcome in outcomes) == 3


async def test_failures_from_before_an_endpoint_was_enabled_do_not_count(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    before = timestamp.from_epoch_us(clock.now_us())
    clock.advance(2 * FAILING_S)
    async with (
        receiving(status(500)) as receiver,
        running(connection, nats, tmp_path, clock=clock, retry_scale=QUICK) as webhooks,
    ):
        made, _ = await webhooks.endpoint(receiver.url())
        streak = FailureStreak(given_up=GIVEN_UP_MAX, since=before)
        await FailureStreaks(connection).write(made.id, streak, expected=0)
        await agent_changed(webhooks)
        await until_streak(connection, made.id, 1)
        await until_empty(connection, made.id)
        assert (await webhooks.read(made.id)).state == "enabled"


async def test_a_success_ends_the_streak_of_failures(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with receiving(status(500)) as receiver, running(connection, nats, tmp_path, retry_scale=QUICK) as webhooks:
        made, _ = await webhooks.endpoint(receiver.url())
        await agent_changed(webhooks)
        await until_streak(connection, made.id, 1)
        await agent_changed(webhooks, 2)
        await until_streak(connection, made.id, 2)
        receiver.answer = status(200)
        await agent_changed(webhooks, 3)
        await until_streak(connection, made.id, 0)


async def test_an_event_of_the_day_before_yesterday_is_not_delivered(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    clock = FakeClock()
    async with receiving() as receiver, running(connection, nats, tmp_path, clock=clock) as webhooks:
        await webhooks.endpoint(receiver.url())
        clock.advance(AGE_MAX_S + 60)
        await agent_changed(webhooks, 1, at="2026-01-01T00:00:30")
        await agent_changed(webhooks, 2, at="2026-01-01T00:02:00")
        [received] = await receiver.until()
        assert received.event["data"]["id"] == "agent_2"


async def test_only_the_types_that_were_asked_for_arrive(
    connection: Connection, nats: NatsSettings, tmp_path: Path
) -> None:
    async with receiving() as receiver, running(connection, nats, tmp_path) as webhooks:
        await webhooks.endpoint(receiver.url("/agents"), "agent.updated")
        await webhooks.endpoint(receiver.url("/vaults"), "vault.created")
        await agent_changed(webhooks)
        await receiver.until()
        await _seen_to_the_end(receiver, webhooks)
        assert [request.path for request in receiver.received] == ["/agents", "/agents"]


async def _seen_to_the_end(receiver: Receiver, webhooks: Webhooks) -> None:
    """Wait for one more event, which comes after all others."""
    identifier = await agent_changed(webhooks, 999)
    await receiver.until(where=lambda request: request.event["data"]["id"] == identifier)
