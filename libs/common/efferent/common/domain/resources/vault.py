"""Vaults and their credentials, as they are stored and as they are answered; only the stored form has secrets."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import CredentialId, VaultId
from efferent.common.domain.sealed import Sealed
from efferent.common.domain.timestamp import Timestamp


class Vault(Shape):
    """The Vault resource."""

    type: Literal["vault"] = "vault"
    id: VaultId
    display_name: str
    metadata: dict[str, str] = {}
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None = None


TokenEndpointAuthType = Literal["none", "client_secret_basic", "client_secret_post"]


class TokenEndpointAuth(Shape):
    """How a client makes itself known to a token endpoint."""

    type: TokenEndpointAuthType


class OAuthRefresh(Shape):
    """Where and how an access token is renewed."""

    client_id: str
    token_endpoint: str
    token_endpoint_auth: TokenEndpointAuth
    resource: str | None = None
    scope: str | None = None


class McpOAuthAuth(Shape):
    """An OAuth token for one MCP server."""

    type: Literal["mcp_oauth"] = "mcp_oauth"
    mcp_server_url: str
    expires_at: Timestamp | None = None
    refresh: OAuthRefresh | None = None


class StaticBearerAuth(Shape):
    """A fixed bearer token for one MCP server."""

    type: Literal["static_bearer"] = "static_bearer"
    mcp_server_url: str


class UnrestrictedCredentialNetworking(Shape):
    """The value may go to every host."""

    type: Literal["unrestricted"] = "unrestricted"


class LimitedCredentialNetworking(Shape):
    """The value may go to these hosts only."""

    type: Literal["limited"] = "limited"
    allowed_hosts: tuple[str, ...] = ()


CredentialNetworking = Annotated[
    UnrestrictedCredentialNetworking | LimitedCredentialNetworking, Field(discriminator="type")
]


class InjectionLocation(Shape):
    """Where in a request the placeholder is replaced by the value."""

    header: bool
    body: bool


class EnvironmentVariableAuth(Shape):
    """A value that sandboxes know by a placeholder only."""

    type: Literal["environment_variable"] = "environment_variable"
    secret_name: str
    networking: CredentialNetworking
    injection_location: InjectionLocation


CredentialAuth = Annotated[McpOAuthAuth | StaticBearerAuth | EnvironmentVariableAuth, Field(discriminator="type")]


class Credential(Shape):
    """The Credential resource, without its secrets."""

    type: Literal["vault_credential"] = "vault_credential"
    id: CredentialId
    vault_id: VaultId
    display_name: str | None = None
    auth: CredentialAuth
    metadata: dict[str, str] = {}
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None = None


class StoredCredential(Credential):
    """A credential with its sealed secrets; None once they are purged."""

    sealed: Sealed | None = None

    def shown(self) -> Credential:
        """What clients get."""
        return Credential(**{name: getattr(self, name) for name in Credential.model_fields})
