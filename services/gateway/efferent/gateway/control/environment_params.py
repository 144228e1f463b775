"""Environments as clients write them: bodies of create and update."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.control.aggregate import UNSET, Given
from efferent.common.domain.control.environment import (
    DESCRIPTION_LENGTH_MAX,
    NAME_LENGTH_MAX,
    CloudPatch,
    ConfigPatch,
    NetworkPatch,
    SelfHostedPatch,
    UpdateEnvironment,
)
from efferent.common.domain.resources.environment import Packages
from efferent.gateway.errors import InvalidRequest
from efferent.gateway.validation import Params

Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
Description = Annotated[str, Field(max_length=DESCRIPTION_LENGTH_MAX)]
Scope = Literal["organization", "account"]


class UnrestrictedParams(Params):
    """Every public host."""

    type: Literal["unrestricted"]


class LimitedParams(Params):
    """Only what is listed; what is not mentioned stays on an update."""

    type: Literal["limited"]
    allowed_hosts: list[str] | None = None
    allow_mcp_servers: bool | None = None
    allow_package_managers: bool | None = None


class PackagesParams(Params):
    """Packages per manager."""

    type: Literal["packages"] | None = None
    apt: list[str] | None = None
    cargo: list[str] | None = None
    gem: list[str] | None = None
    go: list[str] | None = None
    npm: list[str] | None = None
    pip: list[str] | None = None

    def resolved(self) -> Packages:
        """The same with every list present."""
        lists = {name: tuple(getattr(self, name) or ()) for name in ("apt", "cargo", "gem", "go", "npm", "pip")}
        return Packages(**lists)


class CloudParams(Params):
    """The server runs the sandbox."""

    type: Literal["cloud"]
    networking: Annotated[UnrestrictedParams | LimitedParams, Field(discriminator="type")] | None = None
    packages: PackagesParams | None = None


class SelfHostedParams(Params):
    """The customer's workers run the tools."""

    type: Literal["self_hosted"]


ConfigField = Annotated[CloudParams | SelfHostedParams, Field(discriminator="type")]


class CreateEnvironmentParams(Params):
    """Body of ``POST /v1/environments``."""

    name: Name
    description: Description | None = None
    config: ConfigField | None = None
    metadata: dict[str, str] | None = None
    scope: Scope | None = None


class UpdateEnvironmentParams(Params):
    """Body of ``POST /v1/environments/{environment_id}``: what is not mentioned stays."""

    name: Name | None = None
    description: Description | None = None
    config: ConfigField | None = None
    metadata: dict[str, str | None] | None = None
    scope: Scope | None = None

    def command(self) -> UpdateEnvironment:
        """What is mentioned, as the domain takes it. Raises InvalidRequest."""
        check_scope(self.scope)
        return UpdateEnvironment(
            name=self.name if self.name is not None else UNSET,
            description=self.description if "description" in self.model_fields_set else UNSET,
            config=config_patch(self.config) if self.config is not None else UNSET,
            metadata=self.metadata or {},
        )


def config_patch(params: CloudParams | SelfHostedParams | None) -> ConfigPatch:
    """A config as the domain takes it."""
    if params is None:
        return CloudPatch()
    if isinstance(params, SelfHostedParams):
        return SelfHostedPatch()
    networking: Given[NetworkPatch] = UNSET
    if params.networking is not None:
        networking = _network_patch(params.networking)
    return CloudPatch(
        networking=networking, packages=params.packages.resolved() if params.packages is not None else UNSET
    )


def check_scope(scope: Scope | None) -> None:
    """Only organizations own environments here. Raises InvalidRequest."""
    if scope == "account":
        raise InvalidRequest('scope: "account" is not supported for API organizations; expected organization')


def _network_patch(params: UnrestrictedParams | LimitedParams) -> NetworkPatch:
    if isinstance(params, UnrestrictedParams):
        return NetworkPatch(limited=False)
    servers, managers = params.allow_mcp_servers, params.allow_package_managers
    return NetworkPatch(
        limited=True,
        allowed_hosts=tuple(params.allowed_hosts) if params.allowed_hosts is not None else UNSET,
        allow_mcp_servers=servers if servers is not None else UNSET,
        allow_package_managers=managers if managers is not None else UNSET,
    )
