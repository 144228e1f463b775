"""No secret is in what the server wrote, in its log, or in an answer but the one that shows it for the first time.

Every kind of secret there is goes through a server that logs everything: given, used, replaced, misplaced, refused,
repeated by foreign servers, archived and deleted. Then all its files are searched.
"""

import asyncio
import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from anthropic import AsyncAnthropic

from tests.support.efferent_server import API_KEY, EfferentServer, scripted_model
from tests.support.foreign_servers import Foreign, foreign
from tests.support.model_control import ModelControl
from tests.support.playing import MODEL, Played, bash, fresh_name, message, of_type, scripted
from tests.support.secret_search import Recorder, Secrets, files_below
from tests.support.webhook_receiver import Receiver, receiving

SPOKEN: Final = "xylophone-content-of-a-message"
SHOWN: Final = "shown-mark-5d1f"
"""Part of names that are no secrets: that the search finds it where names are kept shows that it can find."""
SECRET_LENGTH_MAX: Final = 65_536
WEBHOOKS: Final = "webhooks-2026-10-07"


@dataclass
class Told:
    """What the test knows of one server."""

    server: EfferentServer
    client: AsyncAnthropic
    recorder: Recorder
    secrets: Secrets
    receiver: Receiver
    foreign: Foreign
    made_by_server: list[str] = field(default_factory=list)
    """Secrets that the server made; the answer that hands one out holds it."""

    def handed_out(self, what: str, secret: str) -> str:
        """Keep a secret that the server made."""
        self.made_by_server.append(what)
        return self.secrets.keep(what, secret)


@pytest.mark.timeout(300)
async def test_no_secret_is_in_any_file_log_or_answer(tmp_path: Path) -> None:
    secrets = Secrets()
    secrets.keep("API key", API_KEY)
    provider_key = secrets.new_plain("provider key")
    with scripted_model() as url:
        environ = {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": provider_key,
            "EFFERENT_LOG_LEVEL": "DEBUG",
            "EFFERENT_WEBHOOK_ALLOW": "127.0.0.1",
            "EFFERENT_MCP_ALLOW": "127.0.0.1",
        }
        server = EfferentServer(tmp_path / "data", environ)
        server.start()
        try:
            async with (
                AsyncAnthropic(base_url=server.base_url, api_key=API_KEY, max_retries=0) as client,
                aiohttp.ClientSession() as http,
                receiving() as receiver,
                foreign() as elsewhere,
            ):
                recorder = Recorder.of(server.base_url, http)
                told = Told(server, client, recorder, secrets, receiver, elsewhere)
                # A provider that says the key that it was sent back to us.
                refused = {"status": 401, "type": "authentication_error", "message": f"invalid key {provider_key}"}
                await ModelControl(url, http).add_rule("what is wrong?", {"error": refused})
                played = await Played.create(client)
                await played.until_idle(scripted({**bash("env; set"), "text": SPOKEN}, {"text": SPOKEN}, say=SPOKEN))
                seen = await played.until_idle(message("what is wrong?"))
                assert provider_key not in of_type(seen, "session.error")[0].error.message
                for use in (_keys, _credentials, _oauth, _repositories, _webhooks, _workers):
                    await use(told)
                await recorder.ask("GET", f"/v1/sessions/{played.id}/events?limit=1000")
                await played.until_idle(message("bye"))
                arguments = await asyncio.to_thread(_arguments, server)
        finally:
            assert server.stop() == 0
    assert secrets.found_in(arguments) == []
    assert server.nats_token.encode() not in arguments
    _search_answers(told)
    _search_files(told)


def _arguments(server: EfferentServer) -> bytes:
    """What everybody on the machine sees of the server's processes."""
    pids = (server.process_id, *server.pids().values())
    return b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)


def _search_answers(told: Told) -> None:
    handed_out: list[str] = []
    for request, answer in told.recorder.answers:
        found = told.secrets.found_in(answer)
        given = [what for what in found if what not in told.made_by_server]
        assert given == [], f"{request} answers with a secret"
        handed_out += found
    assert sorted(handed_out) == sorted(told.made_by_server), "each is shown by the answer that makes it, and no other"


def _search_files(told: Told) -> None:
    server = told.server
    log = server.log_file.read_text(errors="replace")
    # What is printed for the user is not written anywhere else.
    assert f"export ANTHROPIC_API_KEY={API_KEY}" in server.output_file.read_text()
    for expected in ("request_id", "session_id", '"level":"DEBUG"'):
        assert expected in log
    assert SPOKEN not in log
    root_key, token = (server.data_dir / "secret.key").read_bytes().strip(), server.nats_token.encode()
    for path in files_below(server.log_file, server.data_dir):
        data = path.read_bytes()
        assert told.secrets.found_in(data) == [], path
        assert path.name == "secret.key" or root_key not in data, path
        assert path.name in ("nats-server.conf", "nats.json") or token not in data, path
    holds_names = {
        path.relative_to(server.data_dir).parts[0]
        for path in files_below(server.data_dir)
        if SHOWN.encode() in path.read_bytes()
    }
    assert holds_names >= {"nats", "gateway"}, "what is kept can be found in these files"
    for path in server.data_dir.rglob("*"):
        if path.is_file() and "sandbox" not in str(path) and "hands" not in str(path):
            assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"


async def _keys(told: Told) -> None:
    """API keys: in headers that are right and wrong, in a query, and keys made by the command, used and revoked."""
    ask = told.recorder.ask
    for headers, status in (
        ({"authorization": None, "x_api_key": API_KEY}, 200),
        ({"authorization": f"Bearer {API_KEY}"}, 200),
        ({"authorization": None, "x_api_key": f"{API_KEY}x"}, 401),
        ({"authorization": f"Bearer {API_KEY}", "x_api_key": API_KEY}, 401),
        ({"authorization": f"Basic {base64.b64encode(f'x:{API_KEY}'.encode()).decode()}"}, 401),
        ({"authorization": API_KEY}, 401),
        ({"anthropic_version": None}, 400),
    ):
        await ask("GET", f"/v1/agents?api_key={API_KEY}", status=status, **headers)
    for number, options in enumerate(((), ("--expires-in-days", "1"))):
        key, said = await told.server.beside_it("keys", "create", *options)
        told.secrets.keep(f"made key {number}", key)
        await ask("GET", "/v1/agents", authorization=f"Bearer {key}")
        listed, _ = await told.server.beside_it("keys", "list")
        identifier = next(word for word in said.split() if word.startswith("apikey_"))
        assert identifier in listed
        assert told.secrets.found_in(f"{said}{listed}".encode()) == []
        await told.server.beside_it("keys", "revoke", identifier)
        await ask("GET", "/v1/agents", authorization=f"Bearer {key}", status=401)


async def _credentials(told: Told) -> None:
    """Credentials whose secrets are only kept: made, changed, misplaced, too long, archived and deleted."""
    ask, new = told.recorder.ask, told.secrets.new
    vault = (await ask("POST", "/v1/vaults", {"display_name": f"Keys {SHOWN}"})).json["id"]
    path = f"/v1/vaults/{vault}/credentials"
    bearer: dict[str, Any] = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com"}
    variable: dict[str, Any] = {
        "type": "environment_variable",
        "secret_name": "TOKEN",
        "networking": {"type": "unrestricted"},
    }
    made = (await ask("POST", path, {"auth": bearer | {"token": new("bearer token")}})).json["id"]
    kept = variable | {"secret_value": new("variable")}
    other = (await ask("POST", path, {"auth": kept, "display_name": SHOWN})).json["id"]
    await ask("POST", path, {"auth": bearer | {"token": new("token of a duplicate")}}, status=409)
    for misplaced in (
        {"auth": bearer | {"tokken": new("token in an unknown field")}},
        {"auth": bearer | {"token": [new("token in a list")]}},
        {"auth": bearer | {"token": {"value": new("token in an object")}}},
        {"auth": bearer | {"token": new("token that is too long") + "x" * SECRET_LENGTH_MAX}},
        {"auth": new("token in the place of auth")},
        {"auth": bearer | {"token": new("token beside a field of another type"), "secret_name": "X"}},
        {"token": new("token at the top"), "auth": bearer},
        [new("token in a list at the top")],
    ):
        await ask("POST", path, misplaced, status=400)
    torn = new("token in a torn body")
    await ask("POST", path, data=f'{{"auth":{{"type":"static_bearer","token":"{torn}'.encode(), status=400)
    replaced = {"auth": {"type": "static_bearer", "token": new("replaced bearer token")}}
    await ask("POST", f"{path}/{made}", replaced)
    wrong = {"auth": {"type": "environment_variable", "secret_value": new("secret of another type")}}
    await ask("POST", f"{path}/{made}", wrong, status=400)
    await ask("POST", f"{path}/{other}", {"auth": wrong["auth"] | {"secret_value": new("replaced variable")}})
    await ask("GET", path)
    await ask("POST", f"{path}/{made}/archive")
    await ask("POST", f"{path}/{made}", replaced, status=400)
    await ask("DELETE", f"{path}/{other}")
    await ask("POST", f"/v1/vaults/{vault}/archive")
    await ask("GET", f"{path}?include_archived=true")


async def _oauth(told: Told) -> None:
    """OAuth tokens: refused, renewed, and repeated by the servers that they are sent to."""
    ask, new = told.recorder.ask, told.secrets.new_plain
    vault = (await ask("POST", "/v1/vaults", {"display_name": "OAuth"})).json["id"]
    path = f"/v1/vaults/{vault}/credentials"
    for number, kind in enumerate(("client_secret_basic", "client_secret_post")):
        auth = {
            "type": "mcp_oauth",
            "mcp_server_url": f"{told.foreign.url}/mcp?{number}",
            "access_token": new(f"access token {number}"),
            "refresh": {
                "client_id": "client",
                "refresh_token": new(f"refresh token {number}"),
                "token_endpoint": f"{told.foreign.url}/token",
                "token_endpoint_auth": {"type": kind, "client_secret": new(f"client secret {number}")},
            },
        }
        one = f"{path}/{(await ask('POST', path, {'auth': auth})).json['id']}"
        told.foreign.refuses = True
        tried = (await ask("POST", f"{one}/mcp_oauth_validate")).json
        assert (tried["status"], tried["refresh"]["status"]) == ("invalid", "failed")
        assert "[redacted]" in tried["refresh"]["http_response"]["body"]
        told.foreign.refuses = False
        told.foreign.gives = {
            "access_token": new(f"renewed access token {number}"),
            "refresh_token": new(f"renewed refresh token {number}"),
        }
        tried = (await ask("POST", f"{one}/mcp_oauth_validate")).json
        assert (tried["status"], tried["refresh"]["status"]) == ("invalid", "succeeded")
        assert "[redacted]" in tried["mcp_probe"]["http_response"]["body"]
        change = {
            "access_token": new(f"replaced access token {number}"),
            "refresh": {
                "refresh_token": new(f"replaced refresh token {number}"),
                "token_endpoint_auth": {"type": kind, "client_secret": new(f"replaced client secret {number}")},
            },
        }
        await ask("POST", one, {"auth": {"type": "mcp_oauth", **change}})
        misplaced = {"type": "mcp_oauth", "client_secret": new(f"misplaced client secret {number}")}
        await ask("POST", one, {"auth": misplaced}, status=400)
    await ask("DELETE", f"/v1/vaults/{vault}")


async def _repositories(told: Told) -> None:
    """Tokens of repositories: of sessions and deployments, replaced, refused, and in a session that is deleted."""
    ask, new = told.recorder.ask, told.secrets.new

    def repository(what: str, **more: Any) -> dict[str, Any]:
        url = "https://github.com/acme/tools"
        return {"type": "github_repository", "url": url, "authorization_token": new(what), **more}

    environment = (await ask("POST", "/v1/environments", {"name": fresh_name("env")})).json["id"]
    agent = (await ask("POST", "/v1/agents", {"name": f"a {SHOWN}", "model": MODEL})).json["id"]
    on = {"agent": agent, "environment_id": environment}
    session = (await ask("POST", "/v1/sessions", {**on, "resources": [repository("repository token")]})).json
    one = f"/v1/sessions/{session['id']}/resources/{session['resources'][0]['id']}"
    await ask("POST", one, {"authorization_token": new("replaced repository token")})
    await ask("POST", one, {"authorization_token": [new("repository token in a list")]}, status=400)
    await ask("POST", one, {"token": new("repository token in an unknown field")}, status=400)
    for wrong in (
        repository("repository token beside an unknown field", branch="x"),
        repository("repository token of a mount that cannot be", mount_path="/etc"),
        repository("repository token of a checkout that cannot be", checkout={"type": "nothing"}),
    ):
        await ask("POST", "/v1/sessions", {**on, "resources": [wrong]}, status=400)
    await Played(told.client, session["id"]).until_idle(message("hello"))
    await ask("GET", one.rpartition("/")[0])
    await ask("GET", f"/v1/sessions/{session['id']}/events?limit=1000")
    await ask("DELETE", f"/v1/sessions/{session['id']}")
    deployed = {
        "name": "d",
        **on,
        "initial_events": [message("hi")],
        "resources": [repository("repository token of a deployment")],
    }
    deployment = (await ask("POST", "/v1/deployments", deployed)).json["id"]
    ran = (await ask("POST", f"/v1/deployments/{deployment}/run")).json
    assert ran["error"] is None
    changed = {"resources": [repository("replaced repository token of a deployment")]}
    await ask("POST", f"/v1/deployments/{deployment}", changed)
    await ask("GET", f"/v1/deployments/{deployment}")
    await ask("POST", f"/v1/deployments/{deployment}/archive")


async def _webhooks(told: Told) -> None:
    """Signing secrets: shown once, used, replaced, and gone with their endpoint."""
    ask, path = told.recorder.ask, "/v1/organizations/webhooks"
    body = {"url": told.receiver.url(), "enabled_events": ["agent.created"], "name": SHOWN}
    made = (await ask("POST", path, body, anthropic_beta=WEBHOOKS)).json
    first = told.handed_out("signing secret", made["signing_secret"].removeprefix("whsec_"))
    one = f"{path}/{made['id']}"
    again = (await ask("POST", f"{one}/regenerate_signing_secret", anthropic_beta=WEBHOOKS)).json["signing_secret"]
    second = told.handed_out("replaced signing secret", again.removeprefix("whsec_"))
    assert first != second
    told.receiver.answer = lambda received: web.Response(status=200, text=str(received.headers))
    await ask("POST", "/v1/agents", {"name": "a", "model": MODEL})
    [received] = await told.receiver.until()
    received.unwrap(again)
    await ask("POST", one, {"signing_secret": told.secrets.new("signing secret of a client")}, status=400,
              anthropic_beta=WEBHOOKS)  # fmt: skip
    await ask("GET", path, anthropic_beta=WEBHOOKS)
    await ask("DELETE", one, anthropic_beta=WEBHOOKS)


async def _workers(told: Told) -> None:
    """Environment keys and sessions tokens: handed out once, used, changed by a letter, and revoked."""
    ask = told.recorder.ask
    body = {"name": fresh_name("self-hosted"), "config": {"type": "self_hosted"}}
    environment = (await ask("POST", "/v1/environments", body)).json["id"]
    made = (await ask("POST", f"/v1/environments/{environment}/keys", {"name": SHOWN})).json
    key = told.handed_out("environment key", made["key"])
    from_command = ("keys", "create", "--environment", environment)
    told.secrets.keep("environment key of the command", (await told.server.beside_it(*from_command))[0])
    agent = (await ask("POST", "/v1/agents", {"name": "a", "model": MODEL})).json["id"]
    session = await ask(
        "POST", "/v1/sessions", {"agent": agent, "environment_id": environment, "initial_events": [message("hi")]}
    )
    polled = await _polled(told, environment, key)
    token = base64.urlsafe_b64decode(polled["secret"]).decode().split('"')[3]
    told.handed_out("sessions token", token)
    events = f"/v1/sessions/{session.json['id']}/events"
    await ask("GET", events, authorization=f"Bearer {token}")
    await ask("GET", events, authorization=f"Bearer {token}x", status=401)
    await ask("GET", "/v1/agents", authorization=f"Bearer {key}", status=403)
    work = f"/v1/environments/{environment}/work"
    await ask("GET", f"{work}/{polled['id']}")
    await ask("GET", work, authorization=f"Bearer {key}")
    await ask("POST", f"{work}/{polled['id']}/ack", authorization=f"Bearer {key}")
    await ask("GET", f"/v1/environments/{environment}/keys")
    await ask("DELETE", f"/v1/environments/{environment}/keys/{made['id']}")
    await ask("GET", events, authorization=f"Bearer {token}", status=401)


async def _polled(told: Told, environment: str, key: str) -> Any:
    """The session's work item, as its worker gets it."""
    async with asyncio.timeout(20):
        while True:
            path = f"/v1/environments/{environment}/work/poll?block_ms=900"
            answer = await told.recorder.ask("GET", path, authorization=f"Bearer {key}")
            if answer.json is not None:
                return answer.json
