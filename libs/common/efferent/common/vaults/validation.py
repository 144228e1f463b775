"""Trying an OAuth credential: one MCP ``initialize`` with its token, and after a 401 once more with a fresh one."""

from typing import Final, Literal

import aiohttp

from efferent.common.domain import timestamp
from efferent.common.domain.content import Shape
from efferent.common.domain.ids import CredentialId, VaultId, WorkspaceId
from efferent.common.domain.refusals import InvalidRequest
from efferent.common.domain.resources.vault import McpOAuthAuth, StoredCredential
from efferent.common.domain.timestamp import Timestamp
from efferent.common.net.public_addresses import ForbiddenAddress
from efferent.common.ports import Clock
from efferent.common.vaults.http_seen import SeenResponse, read_response
from efferent.common.vaults.keeper import Secrets, VaultKeeper
from efferent.common.vaults.oauth import (
    NothingToRenewWith,
    RenewalRefused,
    RenewalUnreachable,
    Renewed,
    TokenRenewer,
)

PROBE_TIMEOUT_S: Final = 10.0
PROBE_METHOD: Final = "initialize"
_MCP_VERSION: Final = "2025-06-18"
_UNAUTHORIZED: Final = 401


class McpProbe(Shape):
    """The step that failed."""

    method: str
    http_response: SeenResponse | None


class RefreshOutcome(Shape):
    """How the renewal went."""

    status: Literal["succeeded", "failed", "connect_error", "no_refresh_token"]
    http_response: SeenResponse | None


class CredentialValidation(Shape):
    """What trying a credential showed."""

    type: Literal["vault_credential_validation"] = "vault_credential_validation"
    credential_id: CredentialId
    vault_id: VaultId
    validated_at: Timestamp
    has_refresh_token: bool
    status: Literal["valid", "invalid", "unknown"]
    mcp_probe: McpProbe | None
    refresh: RefreshOutcome | None


class CredentialProber:
    """Tries ``mcp_oauth`` credentials against their MCP server."""

    def __init__(self, keeper: VaultKeeper, renewer: TokenRenewer, http: aiohttp.ClientSession, clock: Clock) -> None:
        """``http`` obeys the address policy (``checked_http``)."""
        self._keeper = keeper
        self._renewer = renewer
        self._http = http
        self._clock = clock

    async def validate(self, credential: StoredCredential, workspace_id: WorkspaceId) -> CredentialValidation:
        """Try the credential. Raises InvalidRequest for one that cannot be tried, CannotOpen, LogUnavailable."""
        if credential.archived_at is not None:
            raise InvalidRequest("Credential is archived.")
        auth = credential.auth
        if not isinstance(auth, McpOAuthAuth):
            raise InvalidRequest(f"Only mcp_oauth credentials can be validated; this one is of type {auth.type}.")
        opened = await self._keeper.open(workspace_id, credential.vault_id, credential.id)
        credential, secrets = opened.credential, opened.secrets
        probe = await self._probe(auth, secrets)
        refresh = None
        if _status(probe) == _UNAUTHORIZED:
            credential, refresh = await self._refreshed(credential, workspace_id)
            if refresh.status == "succeeded":
                opened = await self._keeper.open(workspace_id, credential.vault_id, credential.id)
                probe = await self._probe(auth, opened.secrets)
        return CredentialValidation(
            credential_id=credential.id,
            vault_id=credential.vault_id,
            validated_at=timestamp.from_epoch_us(self._clock.now_us()),
            has_refresh_token="refresh_token" in secrets,
            status=_verdict(probe),
            mcp_probe=None if _verdict(probe) == "valid" else probe,
            refresh=refresh,
        )

    async def _refreshed(
        self, credential: StoredCredential, workspace_id: WorkspaceId
    ) -> tuple[StoredCredential, RefreshOutcome]:
        match await self._renewer.renew(credential, workspace_id):
            case Renewed(credential=renewed):
                # A token endpoint's success is a body of fresh tokens: nobody gets to see it.
                return renewed, RefreshOutcome(status="succeeded", http_response=None)
            case RenewalRefused(response=response):
                return credential, RefreshOutcome(status="failed", http_response=response)
            case RenewalUnreachable():
                return credential, RefreshOutcome(status="connect_error", http_response=None)
            case NothingToRenewWith():
                return credential, RefreshOutcome(status="no_refresh_token", http_response=None)

    async def _probe(self, auth: McpOAuthAuth, secrets: Secrets) -> McpProbe:
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": PROBE_METHOD,
            "params": {
                "protocolVersion": _MCP_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "efferent", "version": "1"},
            },
        }
        headers = {
            "authorization": f"Bearer {secrets['access_token']}",
            "accept": "application/json, text/event-stream",
        }
        try:
            async with self._http.post(
                auth.mcp_server_url,
                json=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S),
            ) as response:
                if 200 <= response.status < 300:  # an event stream may stay open: its status says enough
                    return McpProbe(method=PROBE_METHOD, http_response=_seen_without_body(response))
                seen, _ = await read_response(response, tuple(secrets.values()))
                return McpProbe(method=PROBE_METHOD, http_response=seen)
        except (aiohttp.ClientError, ForbiddenAddress, OSError, TimeoutError, ValueError):
            return McpProbe(method=PROBE_METHOD, http_response=None)


def _seen_without_body(response: aiohttp.ClientResponse) -> SeenResponse:
    return SeenResponse(status_code=response.status, content_type="", body="", body_truncated=True)


def _status(probe: McpProbe) -> int | None:
    return probe.http_response.status_code if probe.http_response is not None else None


def _verdict(probe: McpProbe) -> Literal["valid", "invalid", "unknown"]:
    status = _status(probe)
    if status is None or status >= 500 or status in (408, 429):
        return "unknown"
    if 200 <= status < 300:
        return "valid"
    return "invalid" if status in (401, 403) else "unknown"
