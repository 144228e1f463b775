"""Renewing OAuth access tokens at their token endpoint (RFC 6749 section 6, RFC 8707 for ``resource``).

One renewal at a time over all services and replicas: many token endpoints take a refresh token only once, so a second
renewal with the same one would lose the credential. Who comes second waits for the first one's result in the log.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_plus

import aiohttp
import orjson

from efferent.common.control.aggregates import Actor, Aggregates
from efferent.common.control.vaults import CREDENTIALS
from efferent.common.domain import timestamp
from efferent.common.domain.control.credential import NewSecrets, RecordRefresh, RecordRefreshFailure
from efferent.common.domain.ids import CredentialId, VaultId, WorkspaceId, from_seed
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.vault import McpOAuthAuth, OAuthRefresh, StoredCredential
from efferent.common.net.public_addresses import ForbiddenAddress
from efferent.common.ports import Clock, IdSource, Leases
from efferent.common.vaults.http_seen import SeenResponse, read_response
from efferent.common.vaults.keeper import Secrets, VaultKeeper

LEASE_TTL_S: Final = 30
REQUEST_TIMEOUT_S: Final = 10.0
OTHERS_WAIT_S: Final = 20.0
"""How long a renewal of somebody else is waited for."""
RENEW_BEFORE_S: Final = 60
"""A token that ends sooner than this counts as over."""

_POLL_S: Final = 0.2
_EXPIRES_IN_MAX_S: Final = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class Renewed:
    """The credential has a fresh access token."""

    credential: StoredCredential


@dataclass(frozen=True, slots=True)
class RenewalRefused:
    """The endpoint answered, but with no token."""

    response: SeenResponse


@dataclass(frozen=True, slots=True)
class RenewalUnreachable:
    """The endpoint could not be reached, or may not be."""


@dataclass(frozen=True, slots=True)
class NothingToRenewWith:
    """The credential has no refresh token."""


Renewal = Renewed | RenewalRefused | RenewalUnreachable | NothingToRenewWith


@dataclass(frozen=True, slots=True)
class _Grant:
    access_token: str
    refresh_token: str | None
    expires_in_s: int | None


class TokenRenewer:
    """Renews the access tokens of ``mcp_oauth`` credentials."""

    def __init__(
        self,
        aggregates: Aggregates,
        keeper: VaultKeeper,
        leases: Leases,
        http: aiohttp.ClientSession,
        clock: Clock,
        ids: IdSource,
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``http`` obeys the address policy (``checked_http``)."""
        self._aggregates = aggregates
        self._keeper = keeper
        self._leases = leases
        self._http = http
        self._clock = clock
        self._ids = ids
        self._wait = wait

    async def access_token(self, workspace_id: WorkspaceId, vault_id: VaultId, credential_id: CredentialId) -> str:
        """A credential's access token, renewed when it is over; the old one when that fails.

        Raises Refused, CannotOpen, LogUnavailable.
        """
        credential = await self._load(workspace_id, vault_id, credential_id)
        if self._is_over(credential):
            await self.renew(credential, workspace_id)
        return (await self._keeper.open(workspace_id, vault_id, credential_id)).secrets["access_token"]

    async def renew(self, seen: StoredCredential, workspace_id: WorkspaceId) -> Renewal:
        """Ask for a fresh access token in the place of the one that ``seen`` has.

        Raises Refused, CannotOpen, LogUnavailable.
        """
        deadline_s = self._clock.monotonic_s() + OTHERS_WAIT_S
        while True:
            ticket = await self._leases.take(
                f"renewal-{seen.id}", from_seed("req_", self._ids.seed()), ttl_s=LEASE_TTL_S
            )
            try:
                current = await self._load(workspace_id, seen.vault_id, seen.id)
                if current.sealed != seen.sealed:
                    return Renewed(current)
                if ticket is not None:
                    return await self._renew(current, workspace_id)
            finally:
                if ticket is not None:
                    await self._leases.give_up(ticket)
            if self._clock.monotonic_s() >= deadline_s:
                return RenewalUnreachable()
            await self._wait(_POLL_S)

    async def _renew(self, credential: StoredCredential, workspace_id: WorkspaceId) -> Renewal:
        opened = await self._keeper.open(workspace_id, credential.vault_id, credential.id)
        auth, secrets = opened.credential.auth, opened.secrets
        if not isinstance(auth, McpOAuthAuth) or auth.refresh is None or "refresh_token" not in secrets:
            return NothingToRenewWith()
        try:
            response, body = await self._ask(auth.refresh, secrets)
        except (aiohttp.ClientError, ForbiddenAddress, OSError, TimeoutError):
            return RenewalUnreachable()
        actor = Actor(workspace_id)
        grant = _grant(body) if 200 <= response.status_code < 300 else None
        if grant is None:
            await CREDENTIALS.change(
                self._aggregates, actor, credential.id, RecordRefreshFailure(), within=credential.vault_id
            )
            return RenewalRefused(response)
        new = {"access_token": grant.access_token}
        if grant.refresh_token is not None:
            new["refresh_token"] = grant.refresh_token
        expires_at = None
        if grant.expires_in_s is not None:
            expires_at = timestamp.from_epoch_us(self._clock.now_us() + grant.expires_in_s * 1_000_000)

        def command(made: NewSecrets) -> RecordRefresh:
            return RecordRefresh(made, expires_at)

        changed = await self._keeper.replace_secrets(actor, credential.vault_id, credential.id, new, command)
        return Renewed(changed)

    async def _ask(self, refresh: OAuthRefresh, secrets: Secrets) -> tuple[SeenResponse, bytes]:
        form = {"grant_type": "refresh_token", "refresh_token": secrets["refresh_token"]}
        headers = {"accept": "application/json"}
        match refresh.token_endpoint_auth.type:
            case "client_secret_basic":
                # RFC 6749 section 2.3.1: both are form-encoded first.
                name, password = quote_plus(refresh.client_id), quote_plus(secrets.get("client_secret", ""))
                headers["authorization"] = f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
            case "client_secret_post":
                form |= {"client_id": refresh.client_id, "client_secret": secrets.get("client_secret", "")}
            case "none":
                form["client_id"] = refresh.client_id
        form |= {name: value for name, value in (("scope", refresh.scope), ("resource", refresh.resource)) if value}
        async with self._http.post(
            refresh.token_endpoint,
            data=form,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        ) as response:
            return await read_response(
                response, (*secrets.values(), headers.get("authorization", "").rpartition(" ")[2])
            )

    async def _load(self, workspace_id: WorkspaceId, vault_id: VaultId, identifier: CredentialId) -> StoredCredential:
        credential = await CREDENTIALS.get(self._aggregates, workspace_id, identifier, within=vault_id)
        if credential.archived_at is not None:
            raise InvalidRequest("Credential is archived.")
        return credential

    def _is_over(self, credential: StoredCredential) -> bool:
        auth = credential.auth
        if not isinstance(auth, McpOAuthAuth) or auth.expires_at is None or auth.refresh is None:
            return False
        soon = timestamp.from_epoch_us(self._clock.now_us() + RENEW_BEFORE_S * 1_000_000)
        return auth.expires_at <= soon


def _grant(body: bytes) -> _Grant | None:
    """The token of an answer; None when it has none that could be used."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    match fields:
        case {"access_token": str(access_token)} if access_token:
            refresh_token = fields.get("refresh_token")
            expires_in = fields.get("expires_in")
            is_number = isinstance(expires_in, int | float) and not isinstance(expires_in, bool)
            return _Grant(
                access_token,
                refresh_token if isinstance(refresh_token, str) and refresh_token else None,
                int(min(max(expires_in, 0), _EXPIRES_IN_MAX_S)) if is_number else None,
            )
        case _:
            return None
