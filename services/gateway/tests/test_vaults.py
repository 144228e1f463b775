"""Vaults and their credentials over HTTP, with the official client and without."""

import re
from typing import Any

import anthropic
import pytest

from efferent.common.domain.sealed import Sealed
from efferent.common.jetstream.data_keys import JetStreamDataKeys
from efferent.common.secrets.box import SecretBox
from services.gateway.tests.gateway_rig import Served

BEARER = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/sse", "token": "s3cret-bearer-token"}
VARIABLE: dict[str, Any] = {
    "type": "environment_variable",
    "secret_name": "API_TOKEN",
    "secret_value": "s3cret-variable-value",
    "networking": {"type": "limited", "allowed_hosts": ["api.example.com", "*.example.org", "192.0.2.1"]},
}
OAUTH: dict[str, Any] = {
    "type": "mcp_oauth",
    "mcp_server_url": "https://oauth.example.com/mcp",
    "access_token": "s3cret-access-token",
    "expires_at": "2099-01-01T00:00:00Z",
    "refresh": {
        "client_id": "client-1",
        "refresh_token": "s3cret-refresh-token",
        "token_endpoint": "https://oauth.example.com/token",
        "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "s3cret-client-secret"},
        "scope": "read",
    },
}


async def a_vault(served: Served) -> str:
    made = await served.call("POST", "/v1/vaults", {"display_name": "Keys"})
    assert made.status == 200
    return str(made.body["id"])


async def a_credential(served: Served, vault_id: str, auth: object = BEARER, **more: object) -> dict[str, Any]:
    made = await served.call("POST", f"/v1/vaults/{vault_id}/credentials", {"auth": auth, **more})
    assert made.status == 200, made.body
    assert isinstance(made.body, dict)
    return made.body


async def data_keys(served: Served, owner: str) -> list[str]:
    return list(await JetStreamDataKeys(served.connection).ids(owner))


async def test_a_vault_lives_from_create_to_delete(served: Served) -> None:
    sdk = served.sdk()
    vault = await sdk.beta.vaults.create(display_name="Production", metadata={"team": "ops"})
    assert re.fullmatch("vlt_[a-z0-9]+", vault.id)
    assert (vault.type, vault.display_name, vault.archived_at) == ("vault", "Production", None)
    assert vault.metadata == {"team": "ops"}
    changed = await sdk.beta.vaults.update(vault.id, display_name="Prod", metadata={"team": None, "tier": "1"})
    assert (changed.display_name, changed.metadata) == ("Prod", {"tier": "1"})
    assert await sdk.beta.vaults.retrieve(vault.id) == changed
    archived = await sdk.beta.vaults.archive(vault.id)
    assert archived.archived_at is not None
    assert await sdk.beta.vaults.archive(vault.id) == archived
    assert [found.id async for found in sdk.beta.vaults.list(include_archived=True)] == [vault.id]
    assert [found.id async for found in sdk.beta.vaults.list()] == []
    gone = await sdk.beta.vaults.delete(vault.id)
    assert (gone.id, gone.type) == (vault.id, "vault_deleted")
    with pytest.raises(anthropic.NotFoundError):
        await sdk.beta.vaults.retrieve(vault.id)


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        (BEARER, {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/sse"}),
        (
            VARIABLE,
            {
                "type": "environment_variable",
                "secret_name": "API_TOKEN",
                "networking": VARIABLE["networking"],
                "injection_location": {"header": True, "body": True},
            },
        ),
        (
            OAUTH,
            {
                "type": "mcp_oauth",
                "mcp_server_url": "https://oauth.example.com/mcp",
                "expires_at": "2099-01-01T00:00:00.000000Z",
                "refresh": {
                    "client_id": "client-1",
                    "token_endpoint": "https://oauth.example.com/token",
                    "token_endpoint_auth": {"type": "client_secret_basic"},
                    "resource": None,
                    "scope": "read",
                },
            },
        ),
    ],
    ids=["static_bearer", "environment_variable", "mcp_oauth"],
)
async def test_a_credential_is_shown_without_its_secrets(served: Served, auth: object, shown: object) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id, auth, display_name="Token", metadata={"a": "b"})
    assert made["auth"] == shown
    assert set(made) == {
        "type", "id", "vault_id", "display_name", "auth", "metadata", "created_at", "updated_at", "archived_at",
    }  # fmt: skip
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    assert (await served.call("GET", path)).body == made
    assert (await served.call("GET", f"/v1/vaults/{vault_id}/credentials")).body == {"data": [made], "next_page": None}


async def test_no_secret_is_in_the_log_or_in_any_answer(served: Served) -> None:
    vault_id = await a_vault(served)
    answers = [await a_credential(served, vault_id, auth) for auth in (BEARER, VARIABLE, OAUTH)]
    path = f"/v1/vaults/{vault_id}/credentials/{answers[0]['id']}"
    answers.append((await served.call("POST", path, {"auth": {"type": "static_bearer", "token": "s3cret-2"}})).body)
    answers.append((await served.call("POST", path, {"auth": {"type": "static_bearer", "token": 5}})).body)
    answers.append((await served.call("POST", path, {"auth": {"type": "static_bearer", "tokken": "s3cret-3"}})).body)
    answers.append((await served.call("POST", f"{path}/archive")).body)
    assert "s3cret" not in repr(answers)
    records = [raw async for raw in served.control_log.read("control.vault.>")]
    assert len(records) >= 6
    assert not [raw for raw in records if b"s3cret" in raw.payload]


async def test_rotation_makes_the_old_secret_unreadable(served: Served) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id, OAUTH)
    before = await data_keys(served, made["id"])
    assert len(before) == 1
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    changed = await served.call("POST", path, {"auth": {"type": "mcp_oauth", "access_token": "s3cret-new"}})
    assert changed.body["auth"]["expires_at"] == made["auth"]["expires_at"]
    after = await data_keys(served, made["id"])
    assert len(after) == 1
    assert after != before


async def test_of_two_that_change_a_credential_at_once_neither_change_is_lost(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one reads the credential, and the first one replaces its secrets before the second opens them."""
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id, OAUTH)
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    unseal, is_quicker = SecretBox.open, [True]
    opened: list[dict[str, str]] = []

    async def others_are_quicker(box: SecretBox, owner: str, sealed: Sealed) -> dict[str, str]:
        if is_quicker:
            is_quicker.clear()
            first = await served.call("POST", path, {"auth": {"type": "mcp_oauth", "access_token": "s3cret-first"}})
            assert first.status == 200
            opened.clear()
        opened.append(await unseal(box, owner, sealed))
        return opened[-1]

    monkeypatch.setattr(SecretBox, "open", others_are_quicker)
    refresh = {"refresh_token": "s3cret-second"}
    second = await served.call("POST", path, {"auth": {"type": "mcp_oauth", "refresh": refresh}})
    assert second.status == 200
    await served.call("POST", path, {"auth": {"type": "mcp_oauth", "access_token": "s3cret-third"}})
    assert [secrets["access_token"] for secrets in opened] == ["s3cret-first"] * 2
    assert [secrets["refresh_token"] for secrets in opened] == ["s3cret-refresh-token", "s3cret-second"]


async def test_archive_of_a_credential_shreds_it_and_frees_its_name(served: Served) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id)
    taken = await served.call("POST", f"/v1/vaults/{vault_id}/credentials", {"auth": BEARER})
    assert taken.error[:2] == (409, "conflict_error")
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    archived = await served.call("POST", f"{path}/archive")
    assert archived.body["archived_at"] is not None
    assert await data_keys(served, made["id"]) == []
    assert (await served.call("POST", f"{path}/archive")).body == archived.body
    assert (await served.call("POST", path, {"display_name": "x"})).error[2] == "Credential is archived."
    assert (await a_credential(served, vault_id))["id"] != made["id"]


async def test_archive_of_a_vault_archives_and_shreds_its_credentials(served: Served) -> None:
    vault_id = await a_vault(served)
    first, second = await a_credential(served, vault_id), await a_credential(served, vault_id, VARIABLE)
    await served.call("POST", f"/v1/vaults/{vault_id}/archive")
    for made in (first, second):
        shown = (await served.call("GET", f"/v1/vaults/{vault_id}/credentials/{made['id']}")).body
        assert shown["archived_at"] is not None
        assert await data_keys(served, made["id"]) == []
    refused = await served.call("POST", f"/v1/vaults/{vault_id}/credentials", {"auth": BEARER})
    assert refused.error == (400, "invalid_request_error", "Vault is archived.")
    assert (await served.call("POST", f"/v1/vaults/{vault_id}", {"display_name": "x"})).error[2] == "Vault is archived."


async def test_delete_of_a_vault_takes_its_credentials_along(served: Served) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id)
    assert (await served.call("DELETE", f"/v1/vaults/{vault_id}")).body == {"id": vault_id, "type": "vault_deleted"}
    assert await data_keys(served, made["id"]) == []
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    assert (await served.call("GET", path)).error == (404, "not_found_error", "Credential not found.")
    assert (await served.call("GET", f"/v1/vaults/{vault_id}/credentials")).status == 404


async def test_a_deleted_credential_is_gone(served: Served) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id)
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    assert (await served.call("DELETE", path)).body == {"id": made["id"], "type": "vault_credential_deleted"}
    assert (await served.call("GET", path)).status == 404
    assert (await served.call("GET", f"/v1/vaults/{vault_id}/credentials")).body["data"] == []
    assert await data_keys(served, made["id"]) == []


async def test_the_twenty_first_credential_is_refused(served: Served) -> None:
    vault_id = await a_vault(served)
    for number in range(20):
        await a_credential(served, vault_id, {**BEARER, "mcp_server_url": f"https://mcp.example.com/{number}"})
    refused = await served.call("POST", f"/v1/vaults/{vault_id}/credentials", {"auth": BEARER})
    assert refused.error == (400, "invalid_request_error", "A vault can have at most 20 credentials.")


@pytest.mark.parametrize(
    "same",
    ["HTTPS://MCP.example.com/sse", "https://mcp.example.com:443/sse", "https://mcp.example.com/sse/"],
)
async def test_the_same_server_in_other_words_is_the_same(served: Served, same: str) -> None:
    vault_id = await a_vault(served)
    await a_credential(served, vault_id)
    refused = await served.call(
        "POST", f"/v1/vaults/{vault_id}/credentials", {"auth": {**BEARER, "mcp_server_url": same}}
    )
    assert refused.status == 409
    assert "mcp_server_url" in refused.error[2]
    await a_credential(served, vault_id, {**BEARER, "mcp_server_url": "https://mcp.example.com:8443/sse"})


def variable(**changes: object) -> dict[str, object]:
    return {**VARIABLE, **changes}


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        (variable(secret_name="1X"), "auth.secret_name: must be the name of an environment variable"),
        (variable(injection_location={}), "auth.injection_location: at least one of header and body must be true"),
        (variable(injection_location=None), "auth.injection_location: must not be null"),
        (variable(networking={"type": "limited", "allowed_hosts": []}), "must have 1 to 16 entries"),
        (variable(networking={"type": "limited", "allowed_hosts": ["a.example"] * 17}), "must have 1 to 16 entries"),
        (variable(networking={"type": "limited", "allowed_hosts": ["ok.example", "https://x"]}), "allowed_hosts.1"),
        (variable(networking={"type": "limited", "allowed_hosts": ["256.1.1.1"]}), "allowed_hosts.0"),
        (variable(networking={"type": "limited", "allowed_hosts": ["[::1]"]}), "allowed_hosts.0"),
        ({**OAUTH, "expires_at": "2001-01-01T00:00:00Z"}, "auth.expires_at must be in the future."),
        ({**OAUTH, "mcp_server_url": "ftp://x.example"}, "auth.mcp_server_url: must be an absolute"),
        ({**BEARER, "mcp_server_url": "https://me:s3cret@x.example"}, "auth.mcp_server_url: must not hold a user name"),
        (
            {**OAUTH, "refresh": {**OAUTH["refresh"], "token_endpoint": "https://me@x.example/token"}},
            "auth.refresh.token_endpoint: must not hold a user name or password",
        ),
        ({**OAUTH, "refresh": {**OAUTH["refresh"], "scope": "x" * 2_049}}, "auth.refresh.scope: must be at most 2048"),
        ({**OAUTH, "access_token": "x" * 65_537}, "auth.access_token: must be 1 to 65536 characters long"),
        ({**OAUTH, "access_token": ""}, "auth.access_token: must be 1 to 65536 characters long"),
        ({**OAUTH, "refresh": {**OAUTH["refresh"], "token_endpoint": "nowhere"}}, "auth.refresh.token_endpoint"),
        ({"type": "password"}, "auth.type"),
        ({**BEARER, "extra": 1}, "auth.extra: unknown field"),
    ],
)
async def test_a_credential_that_cannot_be_is_refused(served: Served, auth: object, text: str) -> None:
    vault_id = await a_vault(served)
    refused = await served.call("POST", f"/v1/vaults/{vault_id}/credentials", {"auth": auth})
    assert refused.error[:2] == (400, "invalid_request_error")
    assert text in refused.error[2]
    assert (await served.call("GET", f"/v1/vaults/{vault_id}/credentials")).body["data"] == []


@pytest.mark.parametrize(
    ("made", "change", "text"),
    [
        (OAUTH, {"type": "static_bearer", "token": "x"}, "auth.type: cannot be changed"),
        (OAUTH, {"type": "mcp_oauth", "mcp_server_url": "https://x.example"}, "auth.mcp_server_url: unknown field"),
        (OAUTH, {"type": "mcp_oauth", "refresh": {"client_id": "x"}}, "auth.refresh.client_id: unknown field"),
        (OAUTH, {"type": "mcp_oauth", "expires_at": "2001-01-01T00:00:00Z"}, "must be in the future"),
        (VARIABLE, {"type": "environment_variable", "secret_name": "X"}, "auth.secret_name: unknown field"),
        (VARIABLE, {"type": "environment_variable", "injection_location": {"header": False, "body": False}}, "one of"),
    ],
)
async def test_what_never_changes_of_a_credential(served: Served, made: object, change: object, text: str) -> None:
    vault_id = await a_vault(served)
    credential = await a_credential(served, vault_id, made)
    path = f"/v1/vaults/{vault_id}/credentials/{credential['id']}"
    refused = await served.call("POST", path, {"auth": change})
    assert refused.error[:2] == (400, "invalid_request_error")
    assert text in refused.error[2]
    assert (await served.call("GET", path)).body == credential
    assert len(await data_keys(served, credential["id"])) == 1


async def test_what_changes_of_a_credential(served: Served) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id, VARIABLE)
    path = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    change = {
        "type": "environment_variable",
        "networking": {"type": "unrestricted"},
        "injection_location": {"body": False},
    }
    changed = (await served.call("POST", path, {"auth": change, "display_name": "Name"})).body
    assert changed["auth"]["networking"] == {"type": "unrestricted"}
    assert changed["auth"]["injection_location"] == {"header": True, "body": False}
    assert changed["display_name"] == "Name"
    oauth = await a_credential(served, vault_id, OAUTH)
    path = f"/v1/vaults/{vault_id}/credentials/{oauth['id']}"
    kept = {"type": "mcp_oauth", "access_token": None, "refresh": {"scope": None, "refresh_token": None}}
    assert (await served.call("POST", path, {"auth": kept})).body == oauth
    refresh = {"scope": "", "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "s3cret"}}
    changed = (await served.call("POST", path, {"auth": {"type": "mcp_oauth", "refresh": refresh}})).body
    assert changed["auth"]["refresh"]["scope"] is None
    assert changed["auth"]["refresh"]["token_endpoint_auth"] == {"type": "client_secret_basic"}


async def test_another_workspace_sees_nothing_of_a_vault(served: Served) -> None:
    vault_id = await a_vault(served)
    made = await a_credential(served, vault_id)
    _, key = await served.new_workspace()
    other = {"x-api-key": key}
    one = f"/v1/vaults/{vault_id}/credentials/{made['id']}"
    for method, path, body in (
        ("GET", f"/v1/vaults/{vault_id}", None),
        ("POST", f"/v1/vaults/{vault_id}", {}),
        ("DELETE", f"/v1/vaults/{vault_id}", None),
        ("POST", f"/v1/vaults/{vault_id}/archive", None),
        ("GET", f"/v1/vaults/{vault_id}/credentials", None),
        ("POST", f"/v1/vaults/{vault_id}/credentials", {"auth": VARIABLE}),
        ("GET", one, None),
        ("POST", one, {}),
        ("POST", one, {"auth": {"type": "static_bearer", "token": "x"}}),
        ("DELETE", one, None),
        ("POST", f"{one}/archive", None),
        ("POST", f"{one}/mcp_oauth_validate", None),
    ):
        answer = await served.call(method, path, body, headers=other)
        assert answer.error[:2] == (404, "not_found_error"), path
    assert (await served.call("GET", one)).body == made
