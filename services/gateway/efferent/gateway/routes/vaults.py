"""``/v1/vaults``: create, list, retrieve, update, archive, delete."""

from collections.abc import Sequence

from aiohttp import web

from efferent.common.control.vaults import VAULTS
from efferent.common.domain.control.vault import VAULT, CreateVault
from efferent.common.domain.ids import VaultId
from efferent.gateway.context import caller_of, context_of
from efferent.gateway.control.handling import body_as, change, find, id_in_path, new_id
from efferent.gateway.control.listing import list_page
from efferent.gateway.control.vault_params import CreateVaultParams, UpdateVaultParams
from efferent.gateway.responses import json_deleted, json_shown


def routes() -> Sequence[web.AbstractRouteDef]:
    """The routes of this file."""
    return [
        web.post("/v1/vaults", create),
        web.get("/v1/vaults", list_vaults),
        web.get("/v1/vaults/{vault_id}", retrieve),
        web.post("/v1/vaults/{vault_id}", update),
        web.delete("/v1/vaults/{vault_id}", delete),
        web.post("/v1/vaults/{vault_id}/archive", archive),
    ]


async def create(request: web.Request) -> web.Response:
    """Make a vault."""
    params = await body_as(request, CreateVaultParams)
    vault_id = VaultId(new_id(request, VAULT))
    command = CreateVault(vault_id, params.display_name, params.metadata or {})
    return json_shown(VAULT, await change(request, VAULTS, vault_id, command))


async def retrieve(request: web.Request) -> web.Response:
    """One vault, archived or not."""
    return json_shown(VAULT, await find(request, VAULTS, vault_id_of(request)))


async def update(request: web.Request) -> web.Response:
    """Change what the body mentions."""
    vault_id = vault_id_of(request)
    params = await body_as(request, UpdateVaultParams)
    return json_shown(VAULT, await change(request, VAULTS, vault_id, params.command()))


async def archive(request: web.Request) -> web.Response:
    """Archive the vault and its credentials, and destroy their secrets."""
    keeper = context_of(request).vaults.keeper
    return json_shown(VAULT, await keeper.archive_vault(caller_of(request).actor, vault_id_of(request)))


async def delete(request: web.Request) -> web.Response:
    """Remove the vault with its credentials."""
    vault_id = vault_id_of(request)
    await context_of(request).vaults.keeper.delete_vault(caller_of(request).actor, vault_id)
    return json_deleted(VAULT, vault_id)


async def list_vaults(request: web.Request) -> web.Response:
    """All vaults, newest first."""
    return await list_page(request, VAULT)


def vault_id_of(request: web.Request) -> VaultId:
    """The vault in the path. Raises InvalidRequest."""
    return VaultId(id_in_path(request, "vault_id", VAULT))
