"""Whose key a request carries, and whether that key may ask at all."""

from typing import Final

from aiohttp import web

from efferent.gateway.access.authorisation import Authorisation
from efferent.gateway.access.key_ring import KeyRing
from efferent.gateway.access.principals import ApiKeyHolder, EnvironmentKeyHolder
from efferent.gateway.context import Caller
from efferent.gateway.errors import InvalidRequest, Unauthenticated
from efferent.gateway.work.tokens import TOKEN_PREFIX

KEY_LENGTH_MAX: Final = 512


async def authenticate(
    request: web.Request, keys: KeyRing, authorisation: Authorisation, organization_id: str
) -> Caller:
    """Who asks. Raises Unauthenticated (with one text for every reason) and LogUnavailable."""
    text = _key_of(request)
    if text is None or len(text) > KEY_LENGTH_MAX:
        raise Unauthenticated
    if text.startswith(TOKEN_PREFIX):
        caller = await authorisation.token_caller(text, organization_id)
    else:
        caller = await _key_caller(text, keys, organization_id)
    if caller is None:
        raise Unauthenticated
    return caller


async def _key_caller(text: str, keys: KeyRing, organization_id: str) -> Caller | None:
    key = await keys.find(text)
    if key is None:
        return None
    principal = ApiKeyHolder() if key.environment_id is None else EnvironmentKeyHolder(key.environment_id)
    return Caller(organization_id, key.workspace_id, key.id, principal)


def check_workspace(request: web.Request, caller: Caller) -> None:
    """``anthropic-workspace-id`` may be sent and must then name the key's workspace. Raises InvalidRequest."""
    wanted = request.headers.get("anthropic-workspace-id")
    if wanted is not None and wanted != caller.workspace_id:
        raise InvalidRequest("anthropic-workspace-id: does not match the workspace of the API key")


def _key_of(request: web.Request) -> str | None:
    """The one key of a request; None when there is none, or more than one."""
    key_headers = request.headers.getall("x-api-key", [])
    bearer_headers = request.headers.getall("authorization", [])
    if len(key_headers) + len(bearer_headers) != 1:
        return None
    if key_headers:
        return key_headers[0].strip() or None
    scheme, _, token = bearer_headers[0].partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
