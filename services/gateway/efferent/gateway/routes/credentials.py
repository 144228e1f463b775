"""``/v1/vaults/{vault_id}/credentials``: create, list, retrieve, update, archive, delete, try."""

from collections.abc import Sequence

from aiohttp import web

from efferent.common.control.vaults import CREDENTIALS, VAULTS
from efferent.common.domain.control.credential import CREDENTIAL, CreateCredential
from efferent.common.domain.ids import CredentialId
from efferent.common.domain.resources.vault import StoredCredential
from efferent.common.domain.sealed import Sealed
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import body_as, find, id_in_path, new_id
from efferent.gateway.control.listing import Wanted, list_page
from efferent.gateway.control.vault_params import (
    CreateCredentialParams,
    UpdateCredentialParams,
    auth_of,
    secrets_of,
)
from efferent.gateway.responses import json_deleted, json_resource, json_shown
from efferent.gateway.routes.vaults import vault_id_of

_ONE = "/v1/vaults/{vault_id}/credentials/{credential_id}"


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/vaults/{vault_id}/credentials", create),
        web.get("/v1/vaults/{vault_id}/credentials", list_credentials),
        web.get(_ONE, retrieve),
        web.post(_ONE, update),
        web.delete(_ONE, delete),
        web.post(f"{_ONE}/archive", archive),
        web.post(f"{_ONE}/mcp_oauth_validate", validate),
    ]


async def create(request: web.Request) -> web.Response:
    """Keep a credential; its secrets are sealed and never shown again."""
    context, vault_id = context_of(request), vault_id_of(request)
    params = await body_as(request, CreateCredentialParams)
    await find(request, VAULTS, vault_id)
    auth = auth_of(params.auth)
    credential_id = CredentialId(new_id(request, CREDENTIAL))

    def command(sealed: Sealed) -> CreateCredential:
        return CreateCredential(credential_id, vault_id, auth, sealed, params.display_name, params.metadata or {})

    made = await context.vaults.keeper.create(caller_of(request).actor, credential_id, secrets_of(params.auth), command)
    return json_shown(CREDENTIAL, made)


async def retrieve(request: web.Request) -> web.Response:
    """One credential without its secrets, archived or not."""
    return json_shown(CREDENTIAL, await _find(request))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions; new secrets take the place of the old ones."""
    context, vault_id, credential_id = context_of(request), vault_id_of(request), _id(request)
    params = await body_as(request, UpdateCredentialParams)
    secrets = secrets_of(params.auth) if params.auth is not None else {}
    changed = await context.vaults.keeper.update(
        caller_of(request).actor, vault_id, credential_id, params.command(), secrets
    )
    return json_shown(CREDENTIAL, changed)


async def archive(request: web.Request) -> web.Response:
    """Destroy the secrets and free the name."""
    keeper = context_of(request).vaults.keeper
    archived = await keeper.archive(caller_of(request).actor, vault_id_of(request), _id(request))
    return json_shown(CREDENTIAL, archived)


async def delete(request: web.Request) -> web.Response:
    """Remove the credential with its secrets."""
    credential_id = _id(request)
    await context_of(request).vaults.keeper.delete(caller_of(request).actor, vault_id_of(request), credential_id)
    return json_deleted(CREDENTIAL, credential_id)


async def validate(request: web.Request) -> web.Response:
    """Try the token at its MCP server, and renew it when it is refused there."""
    credential = await _find(request)
    validation = await context_of(request).vaults.prober.validate(credential, caller_of(request).workspace_id)
    return json_resource(validation)


async def list_credentials(request: web.Request) -> web.Response:
    """The credentials of a vault, newest first."""
    vault = await find(request, VAULTS, vault_id_of(request))
    return await list_page(request, CREDENTIAL, Wanted(parent=vault.id))


async def _find(request: web.Request) -> StoredCredential:
    return await find(request, CREDENTIALS, _id(request), within=vault_id_of(request))


def _id(request: web.Request) -> CredentialId:
    return CredentialId(id_in_path(request, "credential_id", CREDENTIAL))
