"""Webhooks end to end: from what happens in sessions and resources to what a customer's endpoint gets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anthropic import AsyncAnthropic

from efferent.common.domain.webhook_types import WEBHOOK_TYPES
from tests.support.playing import Played, bash, confirmation, message, scripted, toolset
from tests.support.webhook_receiver import Received, Receiver, receiving


@asynccontextmanager
async def endpoint(
    client: AsyncAnthropic, receiver: Receiver, *types: Any, path: str = "/hook"
) -> AsyncIterator[tuple[str, str]]:
    """An endpoint for these types (all, when none is named), removed afterwards; gives its id and its secret."""
    made = await client.beta.organization.webhooks.create(
        url=receiver.url(path), enabled_events=list(types or WEBHOOK_TYPES)
    )
    try:
        yield made.id, made.signing_secret
    finally:
        await client.beta.organization.webhooks.delete(made.id)


def about(identifier: str, *types: str) -> Any:
    """Chooses what is about one resource."""

    def chosen(received: Received) -> bool:
        return received.event["data"]["id"] == identifier and (not types or received.type in types)

    return chosen


async def test_a_turn_is_reported_signed_and_after_it_can_be_read(client: AsyncAnthropic) -> None:
    async with receiving() as receiver, endpoint(client, receiver) as (_, secret):
        played = await Played.create(client)
        await played.until_idle(message("hello"))
        [idled] = await receiver.until(where=about(played.id, "session.status_idled"))
        assert (await client.beta.sessions.retrieve(played.id)).status == "idle"
        [started] = await receiver.until(where=about(played.id, "session.status_run_started"))
        event = idled.unwrap(secret)
        assert event.type == "event"
        assert event.id == idled.headers["webhook-id"]
        assert event.id.startswith("whe_")
        assert event.data.type == "session.status_idled"
        assert (event.data.id, started.unwrap(secret).data.id) == (played.id, played.id)
        assert idled.headers["content-type"] == "application/json"
