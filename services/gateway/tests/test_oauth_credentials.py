"""OAuth credentials against a token endpoint and an MCP server of our own: trying, renewing, and who sees what."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from efferent.common.runtime.settings import OrganizationSettings
from services.gateway.tests.gateway_rig import Served, ServerAddress, serve

NEAR = OrganizationSettings(mcp_allow="127.0.0.1")


@dataclass
class Provider:
    """An MCP server and its token endpoint; every refresh token is taken once only."""

    good: str = "s3cret-0"
    refresh_token: str = "s3cret-refresh-0"
    mcp_status: int | None = None
    mcp_text: str = "x" * 300_000
    """The body of a 500."""
    token_status: int = 200
    rotates: bool = True
    renewals: list[dict[str, str]] = field(default_factory=list)
    basics: list[str | None] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def mcp(self, request: web.Request) -> web.Response:
        """Answer ``initialize`` when the token is the good one."""
        token = request.headers.get("authorization", "")
        if self.mcp_status is not None:
            return web.Response(status=self.mcp_status, text=self.mcp_text if self.mcp_status == 500 else "no")
        assert (await request.json())["method"] == "initialize"
        if token != f"Bearer {self.good}":
            return web.Response(status=401, text=f"bad token: {token}", content_type="text/plain")
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {}})

    async def token(self, request: web.Request) -> web.Response:
        """Give the next access token."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.basics.append(request.headers.get("authorization"))
        self.renewals.append(form)
        self.asked.set()
        await self.held.wait()
        if self.token_status != 200 or form["refresh_token"] != self.refresh_token:
            error = {"error": "invalid_grant", "sent": form, "by": request.headers.get("authorization")}
            return web.json_response(error, status=self.token_status if self.token_status != 200 else 400)
        self.good = f"s3cret-{len(self.renewals)}"
        answer: dict[str, Any] = {"access_token": self.good, "expires_in": 3600, "token_type": "bearer"}
        if self.rotates:
            self.refresh_token = answer["refresh_token"] = f"s3cret-refresh-{len(self.renewals)}"
        return web.json_response(answer)

    def auth(self, *, endpoint_auth: dict[str, str] | None = None, **changes: object) -> dict[str, object]:
        """A credential whose access token is not good (any more)."""
        return {
            "type": "mcp_oauth",
            "mcp_server_url": f"{self.url}/mcp",
            "access_token": "s3cret-stale-token",
            "refresh": {
                "client_id": "the client",
                "refresh_token": "s3cret-refresh-0",
                "token_endpoint": f"{self.url}/token",
                "token_endpoint_auth": endpoint_auth or {"type": "none"},
                "scope": "a b",
                "resource": "https://r.example",
            },
            **changes,
        }


@asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    provider = Provider()
    provider.held.set()
    app = web.Application()
    app.add_routes([web.post("/mcp", provider.mcp), web.post("/token", provider.token)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield provider
    finally:
        await runner.cleanup()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with providing() as started:
        yield started


@pytest.fixture
async def near(nats_address: ServerAddress, tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway that may reach this machine."""
    async with serve(nats_address, tmp_path, organization=NEAR) as served:
        yield served


async def kept(served: Served, auth: object) -> str:
    vault = await served.call("POST", "/v1/vaults", {"display_name": "Keys"})
    path = f"/v1/vaults/{vault.body['id']}/credentials"
    made = await served.call("POST", path, {"auth": auth})
    assert made.status == 200, made.body
    return f"{path}/{made.body['id']}"


async def test_a_good_token_is_valid_and_nothing_is_renewed(near: Served, provider: Provider) -> None:
    path = await kept(near, provider.auth(access_token="s3cret-0"))
    answer = await near.call("POST", f"{path}/mcp_oauth_validate")
    assert answer.status == 200
    shown = answer.body
    assert re.fullmatch(r"\d{4}-.*Z", shown.pop("validated_at"))
    assert shown == {
        "type": "vault_credential_validation",
        "credential_id": path.rpartition("/")[2],
        "vault_id": path.split("/")[3],
        "has_refresh_token": True,
        "status": "valid",
        "mcp_probe": None,
        "refresh": None,
    }
    assert provider.renewals == []


async def test_a_refused_token_is_renewed_and_tried_again(near: Served, provider: Provider) -> None:
    path = await kept(near, provider.auth())
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (answer["status"], answer["mcp_probe"]) == ("valid", None)
    assert answer["refresh"] == {"status": "succeeded", "http_response": None}
    assert "s3cret" not in repr(answer)
    assert provider.renewals == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "s3cret-refresh-0",
            "client_id": "the client",
            "scope": "a b",
            "resource": "https://r.example",
        }
    ]
    shown = (await near.call("GET", path)).body
    assert shown["auth"]["expires_at"] is not None
    again = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (again["status"], again["refresh"]) == ("valid", None)


@pytest.mark.parametrize("kind", ["client_secret_basic", "client_secret_post"])
async def test_an_endpoint_that_repeats_what_it_was_sent_shows_no_client_secret(
    near: Served, provider: Provider, kind: str
) -> None:
    provider.token_status = 418
    path = await kept(near, provider.auth(endpoint_auth={"type": kind, "client_secret": "s3cret+client/secret"}))
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    body = answer["refresh"]["http_response"]["body"]
    assert "[redacted]" in body
    sent = provider.basics[0] or "none"
    assert sent.removeprefix("Basic ") not in body
    for text in ("s3cret", base64.b64encode(b"s3cret+client/secret").decode()[:12]):
        assert text not in repr(answer)


@pytest.mark.parametrize("kind", ["client_secret_basic", "client_secret_post"])
async def test_the_client_makes_itself_known_as_it_is_configured(near: Served, provider: Provider, kind: str) -> None:
    path = await kept(near, provider.auth(endpoint_auth={"type": kind, "client_secret": "s3cret-client"}))
    assert (await near.call("POST", f"{path}/mcp_oauth_validate")).body["status"] == "valid"
    if kind == "client_secret_basic":
        assert provider.basics == ["Basic " + base64.b64encode(b"the+client:s3cret-client").decode()]
        assert "client_secret" not in provider.renewals[0]
    else:
        assert provider.renewals[0]["client_secret"] == "s3cret-client"


async def test_renewals_at_the_same_time_on_two_gateways_are_one(
    nats_address: ServerAddress, tmp_path: Path, near: Served, provider: Provider
) -> None:
    path = await kept(near, provider.auth())
    async with serve(nats_address, tmp_path / "two", organization=NEAR) as second:
        second.key = near.key
        provider.held.clear()
        tries = [
            asyncio.create_task(served.call("POST", f"{path}/mcp_oauth_validate"))
            for served in (near, second, near, second)
        ]
        async with asyncio.timeout(30):
            await provider.asked.wait()
        provider.held.set()
        answers = await asyncio.gather(*tries)
    assert [answer.body["status"] for answer in answers] == ["valid"] * 4
    assert len(provider.renewals) == 1


async def test_a_refused_renewal_is_told_without_secrets_and_recorded(near: Served, provider: Provider) -> None:
    provider.token_status = 400
    path = await kept(near, provider.auth())
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (answer["status"], answer["refresh"]["status"]) == ("invalid", "failed")
    assert answer["refresh"]["http_response"]["status_code"] == 400
    assert "invalid_grant" in answer["refresh"]["http_response"]["body"]
    assert answer["mcp_probe"]["method"] == "initialize"
    assert answer["mcp_probe"]["http_response"]["body"] == "bad token: Bearer [redacted]"
    assert "s3cret" not in repr(answer)
    records = [raw.payload async for raw in near.control_log.read(f"control.vault.{path.split('/')[3]}.*")]
    assert b'"vault_credential.refresh_failed"' in records[-1]


async def test_without_a_refresh_token_nothing_can_be_renewed(near: Served, provider: Provider) -> None:
    path = await kept(near, provider.auth(refresh=None))
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (answer["status"], answer["has_refresh_token"]) == ("invalid", False)
    assert answer["refresh"] == {"status": "no_refresh_token", "http_response": None}


async def test_a_server_in_trouble_says_nothing_about_the_token(near: Served, provider: Provider) -> None:
    provider.mcp_status = 500
    path = await kept(near, provider.auth())
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (answer["status"], answer["refresh"]) == ("unknown", None)
    seen = answer["mcp_probe"]["http_response"]
    assert (seen["status_code"], len(seen["body"]), seen["body_truncated"]) == (500, 4096, True)


async def test_a_secret_that_is_cut_does_not_show_its_beginning(near: Served, provider: Provider) -> None:
    secret = "s3cret-" + "y" * 7_000
    provider.mcp_status, provider.mcp_text = 500, secret * 40
    path = await kept(near, provider.auth(access_token=secret))
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    seen = answer["mcp_probe"]["http_response"]
    assert (seen["body_truncated"], "s3cret" in seen["body"], "y" in seen["body"]) == (True, False, False)
    provider.mcp_text = f"Got more than 100 bytes: {secret[:100]}..."
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert answer["mcp_probe"]["http_response"]["body"] == "Got more than 100 bytes: [redacted]..."


async def test_what_cannot_be_reached_is_unknown(near: Served, provider: Provider, unused_tcp_port: int) -> None:
    path = await kept(near, provider.auth(mcp_server_url=f"http://127.0.0.1:{unused_tcp_port}/mcp"))
    answer = (await near.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (answer["status"], answer["mcp_probe"]) == ("unknown", {"method": "initialize", "http_response": None})


async def test_a_gateway_reaches_no_private_address_by_itself(served: Served, provider: Provider) -> None:
    path = await kept(served, provider.auth(access_token="s3cret-0"))
    answer = (await served.call("POST", f"{path}/mcp_oauth_validate")).body
    assert (answer["status"], answer["mcp_probe"]["http_response"]) == ("unknown", None)


async def test_other_credentials_cannot_be_tried(served: Served) -> None:
    bearer = {"type": "static_bearer", "mcp_server_url": "https://x.example", "token": "s3cret"}
    path = await kept(served, bearer)
    refused = await served.call("POST", f"{path}/mcp_oauth_validate")
    assert refused.error[:2] == (400, "invalid_request_error")
    oauth = await kept(served, Provider(url="https://x.example").auth())
    await served.call("POST", f"{oauth}/archive")
    refused = await served.call("POST", f"{oauth}/mcp_oauth_validate")
    assert refused.error == (400, "invalid_request_error", "Credential is archived.")
