"""Signatures as the official client checks them: right, tampered with, old, and under a replaced key."""

import base64
from binascii import Error as NotBase64
from typing import Final

import pytest
from anthropic import Anthropic
from standardwebhooks import WebhookVerificationError

from efferent.automation.webhooks.sending import Delivered, Failed, Hopeless, WebhookSender, judged
from efferent.common.control.webhook_endpoints import new_secret
from efferent.common.net.public_addresses import AddressPolicy
from efferent.common.runtime.clock import SystemClock
from efferent.common.testing.fake_clock import FakeClock
from tests.support.webhook_receiver import Received, receiving

SECRET: Final = new_secret()
BODY: Final = (
    b'{"id":"whe_1","type":"event","created_at":"2026-01-01T00:00:00.000000Z",'
    b'"data":{"type":"session.status_idled","id":"sesn_1","organization_id":"o","workspace_id":"w \xc3\xa4"}}'
)
READER: Final = Anthropic(api_key="not used: nothing is sent with it")
LOOPBACK: Final = AddressPolicy.parse("127.0.0.1")


async def sent(secret: str = SECRET, *, shifted_s: float = 0) -> Received:
    """A delivery as the endpoint got it, signed by a machine whose clock is shifted."""
    clock = FakeClock(SystemClock().now_us() + round(shifted_s * 1_000_000))
    sender = WebhookSender(LOOPBACK, clock)
    async with receiving() as receiver:
        assert await sender.attempt(receiver.url(), secret, "whe_1", BODY) == Delivered()
        await sender.close()
        return receiver.received[0]


@pytest.fixture
async def delivery() -> Received:
    """A delivery that is right."""
    return await sent()


def unwrap(
    delivery: Received, *, key: str = SECRET, body: str | None = None, leave_out: str = "", **headers: str
) -> object:
    """What the official client makes of it when headers are replaced, or one is left out."""
    changed = {**delivery.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    kept = {name: value for name, value in changed.items() if name != leave_out}
    return READER.beta.webhooks.unwrap(delivery.body if body is None else body, headers=kept, key=key)


async def test_the_official_client_accepts_a_delivery(delivery: Received) -> None:
    event = READER.beta.webhooks.unwrap(delivery.body, headers=dict(delivery.headers), key=SECRET)
    assert (event.id, event.type, event.data.type) == ("whe_1", "event", "session.status_idled")
    assert delivery.body.encode() == BODY
    assert delivery.headers["webhook-signature"].startswith("v1,")


async def test_whatever_is_tampered_with_is_noticed(delivery: Received) -> None:
    later = str(int(delivery.headers["webhook-timestamp"]) + 1)
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, body=delivery.body.replace("sesn_1", "sesn_2"))
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, body=delivery.body + " ")
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, webhook_id="whe_2")
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, webhook_timestamp=later)
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, webhook_signature="v1," + base64.b64encode(bytes(32)).decode())
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, webhook_signature=delivery.headers["webhook-signature"].replace("v1,", "v2,"))
    with pytest.raises((WebhookVerificationError, NotBase64)):
        unwrap(delivery, webhook_signature="v1,x")
    with pytest.raises(WebhookVerificationError):
        unwrap(delivery, key=new_secret())


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_delivery_without_one_of_its_headers_is_refused(delivery: Received, missing: str) -> None:
    with pytest.raises(WebhookVerificationError, match="Missing required headers"):
        unwrap(delivery, leave_out=missing)


@pytest.mark.parametrize("shifted_s", [-301, 400])
async def test_a_delivery_of_another_time_is_refused(shifted_s: float) -> None:
    with pytest.raises(WebhookVerificationError, match="Message timestamp too"):
        unwrap(await sent(shifted_s=shifted_s))


async def test_old_and_new_key_each_open_their_own_deliveries_only() -> None:
    old, new = new_secret(), new_secret()
    before, after = await sent(old), await sent(new)
    unwrap(before, key=old)
    unwrap(after, key=new)
    for delivery, key in ((before, new), (after, old)):
        with pytest.raises(WebhookVerificationError):
            unwrap(delivery, key=key)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_acknowledges(status: int) -> None:
    assert judged(status) == Delivered()


@pytest.mark.parametrize("status", [100, 400, 401, 404, 410, 429, 500, 503, 599])
def test_other_statuses_are_tried_again(status: int) -> None:
    assert judged(status) == Failed(f"HTTP {status}")


@pytest.mark.parametrize("status", [300, 304, 399])
def test_every_3xx_is_hopeless(status: int) -> None:
    assert isinstance(judged(status), Hopeless)


async def test_nobody_there_and_a_server_without_tls_are_failures() -> None:
    sender = WebhookSender(LOOPBACK, SystemClock(), attempt_s=2)
    async with receiving() as receiver:
        port = receiver.port
        assert isinstance(await sender.attempt(f"https://127.0.0.1:{port}/", SECRET, "whe_1", BODY), Failed)
    assert isinstance(await sender.attempt(f"http://127.0.0.1:{port}/", SECRET, "whe_1", BODY), Failed)
    await sender.close()


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://localhost/", "http://hooks.example/", "https://10.0.0.1/", "https://127.1/"]
)
async def test_urls_that_were_never_allowed_are_hopeless(url: str) -> None:
    sender = WebhookSender(AddressPolicy(), SystemClock())
    assert isinstance(await sender.attempt(url, SECRET, "whe_1", BODY), Hopeless)
    await sender.close()
