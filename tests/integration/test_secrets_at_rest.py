"""No key is in what the server wrote, neither in its files nor in its log, nor in its log what users said."""

import base64
from pathlib import Path
from typing import Final

import aiohttp
import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model
from tests.support.model_control import ModelControl
from tests.support.playing import Played, bash, message, of_type, scripted

PROVIDER_KEY: Final = "provider-key-9b1c-never-written"
CREDENTIAL_MARK: Final = "vault-secret-4f7d"
"""Part of every secret of the vault's credentials."""
SPOKEN: Final = "xylophone-content-of-a-message"


@pytest.mark.timeout(120)
async def test_no_key_is_in_any_file_and_no_content_in_any_log(tmp_path: Path) -> None:
    with scripted_model() as url:
        environ = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": PROVIDER_KEY, "EFFERENT_LOG_LEVEL": "DEBUG"}
        server = EfferentServer(tmp_path / "data", environ)
        server.start()
        try:
            async with AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client:
                # A provider that says the key that it was sent back to us.
                refused = {"status": 401, "type": "authentication_error", "message": f"invalid key {PROVIDER_KEY}"}
                async with aiohttp.ClientSession() as http:
                    await ModelControl(url, http).add_rule("what is wrong?", {"error": refused})
                await _use_everything(client)
        finally:
            assert server.stop() == 0
    # What is printed for the user is not written anywhere.
    assert f"export ANTHROPIC_API_KEY={API_KEY}" in server.output_file.read_text()
    log = server.log_file.read_text(errors="replace")
    assert "request_id" in log
    assert "session_id" in log
    assert SPOKEN not in log
    for path in [server.log_file, *server.data_dir.rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert PROVIDER_KEY.encode() not in data, path
            assert API_KEY.encode() not in data, path
            assert CREDENTIAL_MARK.encode() not in data, path
            assert base64.b64encode(CREDENTIAL_MARK.encode())[:-3] not in data, path
    for path in server.data_dir.rglob("*"):
        if path.is_file() and "sandbox" not in str(path) and "hands" not in str(path):
            assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


async def _use_everything(client: AsyncAnthropic) -> None:
    played = await Played.create(client)
    await played.until_idle(scripted({**bash("env; set"), "text": SPOKEN}, {"text": SPOKEN}, say=SPOKEN))
    seen = await played.until_idle(message("what is wrong?"))
    assert PROVIDER_KEY not in of_type(seen, "session.error")[0].error.message
    base = str(client.base_url).rstrip("/")
    async with aiohttp.ClientSession() as http:
        for headers in ({"x-api-key": API_KEY}, {"authorization": f"Bearer {API_KEY}"}, {"x-api-key": f"{API_KEY}x"}):
            async with http.get(f"{base}/v1/agents?api_key={API_KEY}", headers=headers):
                pass
    await _keep_credentials(client)
    await played.until_idle(message("bye"))


async def _keep_credentials(client: AsyncAnthropic) -> None:
    """Make, change, refuse, archive and delete credentials of every type."""
    secret = CREDENTIAL_MARK
    vault = await client.beta.vaults.create(display_name="Keys")
    create = client.beta.vaults.credentials.create
    bearer = await create(
        vault.id,
        auth={"type": "static_bearer", "mcp_server_url": "https://mcp.example.com", "token": f"{secret}-1"},
    )
    await create(
        vault.id,
        auth={
            "type": "environment_variable",
            "secret_name": "TOKEN",
            "secret_value": f"{secret}-2",
            "networking": {"type": "unrestricted"},
        },
    )
    oauth = await create(
        vault.id,
        auth={
            "type": "mcp_oauth",
            "mcp_server_url": "http://127.0.0.1:9/mcp",
            "access_token": f"{secret}-3",
            "refresh": {
                "client_id": "c",
                "refresh_token": f"{secret}-4",
                "token_endpoint": "http://127.0.0.1:9/token",
                "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": f"{secret}-5"},
            },
        },
    )
    update = client.beta.vaults.credentials.update
    changed = await update(bearer.id, vault_id=vault.id, auth={"type": "static_bearer", "token": f"{secret}-6"})
    with pytest.raises(anthropic.BadRequestError) as refused:
        await update(
            bearer.id,
            vault_id=vault.id,
            auth={"type": "mcp_oauth", "access_token": f"{secret}-7", "client_secret": f"{secret}-8"},  # type: ignore[arg-type]
        )
    tried = await client.beta.vaults.credentials.mcp_oauth_validate(oauth.id, vault_id=vault.id)
    assert tried.status == "unknown"
    listed = [found async for found in client.beta.vaults.credentials.list(vault.id)]
    archived = await client.beta.vaults.credentials.archive(bearer.id, vault_id=vault.id)
    await client.beta.vaults.delete(vault.id)
    assert secret not in repr([bearer, changed, refused.value.body, tried, listed, archived])
