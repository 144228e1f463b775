"""Vaults and credentials as clients write them; what is secret is taken out before anything else sees the request."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, SecretStr

from efferent.common.domain.control.aggregate import UNSET, Given
from efferent.common.domain.control.credential import (
    AuthPatch,
    EnvironmentVariablePatch,
    McpOAuthPatch,
    StaticBearerPatch,
    UpdateCredential,
)
from efferent.common.domain.control.vault import DISPLAY_NAME_LENGTH_MAX, UpdateVault
from efferent.common.domain.resources.vault import (
    CredentialAuth,
    CredentialNetworking,
    EnvironmentVariableAuth,
    InjectionLocation,
    LimitedCredentialNetworking,
    McpOAuthAuth,
    OAuthRefresh,
    StaticBearerAuth,
    TokenEndpointAuth,
    UnrestrictedCredentialNetworking,
)
from efferent.common.domain.timestamp import Timestamp
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params, read_timestamp

SECRET_LENGTH_MAX = 65_536


def _not_empty(secret: SecretStr) -> SecretStr:
    if not 1 <= len(secret.get_secret_value()) <= SECRET_LENGTH_MAX:
        raise ValueError(f"must be 1 to {SECRET_LENGTH_MAX} characters long")
    return secret


Secret = Annotated[SecretStr, Field(strict=False), AfterValidator(_not_empty)]
"""A value that is never shown again; errors about it do not repeat it either."""
DisplayName = Annotated[str, Field(min_length=1, max_length=DISPLAY_NAME_LENGTH_MAX)]
TEXT_LENGTH_MAX: Final = 2_048
Text = Annotated[str, Field(min_length=1, max_length=TEXT_LENGTH_MAX)]
OptionalText = Annotated[str, Field(max_length=TEXT_LENGTH_MAX)]


class CreateVaultParams(Params):
    """Body of ``POST /v1/vaults``."""

    display_name: DisplayName
    metadata: dict[str, str] | None = None


class UpdateVaultParams(Params):
    """Body of ``POST /v1/vaults/{vault_id}``: what is not mentioned stays."""

    display_name: DisplayName | None = None
    metadata: dict[str, str | None] | None = None

    def command(self) -> UpdateVault:
        """What is mentioned, as the domain takes it."""
        return UpdateVault(
            display_name=self.display_name if self.display_name is not None else UNSET, metadata=self.metadata or {}
        )


class NoAuthParams(Params):
    """The client has no secret."""

    type: Literal["none"]


class BasicAuthParams(Params):
    """The client's secret goes into a header."""

    type: Literal["client_secret_basic"]
    client_secret: Secret


class PostAuthParams(Params):
    """The client's secret goes into the form."""

    type: Literal["client_secret_post"]
    client_secret: Secret


class RefreshParams(Params):
    """How an access token is renewed."""

    client_id: Text
    refresh_token: Secret
    token_endpoint: Text
    token_endpoint_auth: Annotated[NoAuthParams | BasicAuthParams | PostAuthParams, Field(discriminator="type")]
    resource: OptionalText | None = None
    scope: OptionalText | None = None


class McpOAuthParams(Params):
    """An OAuth token for an MCP server."""

    type: Literal["mcp_oauth"]
    mcp_server_url: Text
    access_token: Secret
    expires_at: str | None = None
    refresh: RefreshParams | None = None


class StaticBearerParams(Params):
    """A fixed token for an MCP server."""

    type: Literal["static_bearer"]
    mcp_server_url: Text
    token: Secret


class UnrestrictedParams(Params):
    """Every host."""

    type: Literal["unrestricted"]


class LimitedParams(Params):
    """Some hosts."""

    type: Literal["limited"]
    allowed_hosts: list[str]


NetworkingField = Annotated[UnrestrictedParams | LimitedParams, Field(discriminator="type")]


class LocationParams(Params):
    """Where the value goes in a request."""

    header: bool | None = None
    body: bool | None = None


class EnvironmentVariableParams(Params):
    """A value for sandboxes."""

    type: Literal["environment_variable"]
    secret_name: Text
    secret_value: Secret
    networking: NetworkingField
    injection_location: LocationParams | None = None


AuthField = Annotated[McpOAuthParams | StaticBearerParams | EnvironmentVariableParams, Field(discriminator="type")]


class CreateCredentialParams(Params):
    """Body of ``POST /v1/vaults/{vault_id}/credentials``."""

    auth: AuthField
    display_name: DisplayName | None = None
    metadata: dict[str, str] | None = None


class EndpointAuthUpdateParams(Params):
    """A new client secret; the kind that is stored stays."""

    type: Literal["client_secret_basic", "client_secret_post"]
    client_secret: Secret | None = None


class RefreshUpdateParams(Params):
    """What may change of a refresh."""

    refresh_token: Secret | None = None
    scope: OptionalText | None = None
    """Empty: it is cleared."""
    token_endpoint_auth: EndpointAuthUpdateParams | None = None


class McpOAuthUpdateParams(Params):
    """What may change of an OAuth token."""

    type: Literal["mcp_oauth"]
    access_token: Secret | None = None
    expires_at: str | None = None
    refresh: RefreshUpdateParams | None = None


class StaticBearerUpdateParams(Params):
    """A new fixed token."""

    type: Literal["static_bearer"]
    token: Secret | None = None


class EnvironmentVariableUpdateParams(Params):
    """What may change of a variable."""

    type: Literal["environment_variable"]
    secret_value: Secret | None = None
    networking: NetworkingField | None = None
    injection_location: LocationParams | None = None


AuthUpdateField = Annotated[
    McpOAuthUpdateParams | StaticBearerUpdateParams | EnvironmentVariableUpdateParams, Field(discriminator="type")
]


class UpdateCredentialParams(Params):
    """Body of ``POST /v1/vaults/{vault_id}/credentials/{credential_id}``: what is not mentioned stays."""

    auth: AuthUpdateField | None = None
    display_name: DisplayName | None = None
    metadata: dict[str, str | None] | None = None

    def command(self) -> UpdateCredential:
        """What is mentioned, without its secrets. Raises InvalidRequest."""
        return UpdateCredential(
            display_name=self.display_name if "display_name" in self.model_fields_set else UNSET,
            metadata=self.metadata or {},
            auth=_patch(self.auth) if self.auth is not None else None,
        )


def auth_of(params: McpOAuthParams | StaticBearerParams | EnvironmentVariableParams) -> CredentialAuth:
    """What is stored and shown of a credential. Raises InvalidRequest."""
    match params:
        case McpOAuthParams(refresh=refresh):
            return McpOAuthAuth(
                mcp_server_url=params.mcp_server_url,
                expires_at=_moment(params.expires_at),
                refresh=_refresh(refresh) if refresh is not None else None,
            )
        case StaticBearerParams():
            return StaticBearerAuth(mcp_server_url=params.mcp_server_url)
        case EnvironmentVariableParams(injection_location=location):
            if location is None and "injection_location" in params.model_fields_set:
                raise InvalidRequest("auth.injection_location: must not be null")
            return EnvironmentVariableAuth(
                secret_name=params.secret_name,
                networking=_networking(params.networking),
                injection_location=InjectionLocation(header=True, body=True)
                if location is None
                else InjectionLocation(header=bool(location.header), body=bool(location.body)),
            )


def secrets_of(
    params: McpOAuthParams
    | StaticBearerParams
    | EnvironmentVariableParams
    | McpOAuthUpdateParams
    | StaticBearerUpdateParams
    | EnvironmentVariableUpdateParams,
) -> dict[str, str]:
    """The secrets of a request by their names; only those that it mentions."""
    found: dict[str, SecretStr | None]
    match params:
        case McpOAuthParams(refresh=refresh) | McpOAuthUpdateParams(refresh=refresh):
            auth = refresh.token_endpoint_auth if refresh is not None else None
            found = {
                "access_token": params.access_token,
                "refresh_token": refresh.refresh_token if refresh is not None else None,
                "client_secret": None if auth is None or isinstance(auth, NoAuthParams) else auth.client_secret,
            }
        case StaticBearerParams(token=token) | StaticBearerUpdateParams(token=token):
            found = {"token": token}
        case EnvironmentVariableParams(secret_value=value) | EnvironmentVariableUpdateParams(secret_value=value):
            found = {"secret_value": value}
    return {name: secret.get_secret_value() for name, secret in found.items() if secret is not None}


def _patch(params: McpOAuthUpdateParams | StaticBearerUpdateParams | EnvironmentVariableUpdateParams) -> AuthPatch:
    match params:
        case McpOAuthUpdateParams(refresh=refresh):
            scope: Given[str | None] = UNSET
            if refresh is not None and refresh.scope is not None:
                scope = refresh.scope
            return McpOAuthPatch(
                expires_at=_moment(params.expires_at) if "expires_at" in params.model_fields_set else UNSET,
                scope=scope,
                touches_refresh=refresh is not None,
                touches_client_secret=refresh is not None
                and refresh.token_endpoint_auth is not None
                and refresh.token_endpoint_auth.client_secret is not None,
            )
        case StaticBearerUpdateParams():
            return StaticBearerPatch()
        case EnvironmentVariableUpdateParams(injection_location=location, networking=networking):
            if location is None and "injection_location" in params.model_fields_set:
                raise InvalidRequest("auth.injection_location: must not be null")
            header = location.header if location is not None else None
            body = location.body if location is not None else None
            return EnvironmentVariablePatch(
                networking=_networking(networking) if networking is not None else UNSET,
                header=header if header is not None else UNSET,
                body=body if body is not None else UNSET,
            )


def _refresh(params: RefreshParams) -> OAuthRefresh:
    return OAuthRefresh(
        client_id=params.client_id,
        token_endpoint=params.token_endpoint,
        token_endpoint_auth=TokenEndpointAuth(type=params.token_endpoint_auth.type),
        resource=params.resource,
        scope=params.scope or None,
    )


def _networking(params: UnrestrictedParams | LimitedParams) -> CredentialNetworking:
    if isinstance(params, UnrestrictedParams):
        return UnrestrictedCredentialNetworking()
    return LimitedCredentialNetworking(allowed_hosts=tuple(params.allowed_hosts))


def _moment(text: str | None) -> Timestamp | None:
    return read_timestamp("auth.expires_at", text) if text is not None else None
