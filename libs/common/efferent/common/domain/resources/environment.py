"""Environments as they are stored and answered."""

from typing import Annotated, Literal

from pydantic import Field

from efferent.common.domain.content import Shape
from efferent.common.domain.ids import EnvironmentId
from efferent.common.domain.timestamp import Timestamp


class UnrestrictedNetwork(Shape):
    """Every public host may be reached."""

    type: Literal["unrestricted"] = "unrestricted"


class LimitedNetwork(Shape):
    """Only listed hosts may be reached."""

    type: Literal["limited"] = "limited"
    allowed_hosts: tuple[str, ...] = ()
    allow_mcp_servers: bool = False
    allow_package_managers: bool = False


class Packages(Shape):
    """Packages to install before the agent starts, per manager."""

    type: Literal["packages"] = "packages"
    apt: tuple[str, ...] = ()
    cargo: tuple[str, ...] = ()
    gem: tuple[str, ...] = ()
    go: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()


class CloudConfig(Shape):
    """The server runs the sandbox."""

    type: Literal["cloud"] = "cloud"
    networking: Annotated[UnrestrictedNetwork | LimitedNetwork, Field(discriminator="type")] = UnrestrictedNetwork()
    packages: Packages = Packages()


class SelfHostedConfig(Shape):
    """The customer's workers run the tools."""

    type: Literal["self_hosted"] = "self_hosted"


EnvironmentConfig = Annotated[CloudConfig | SelfHostedConfig, Field(discriminator="type")]


class Environment(Shape):
    """The Environment resource."""

    type: Literal["environment"] = "environment"
    id: EnvironmentId
    name: str
    description: str | None = None
    config: EnvironmentConfig
    metadata: dict[str, str] = {}
    scope: Literal["organization"] = "organization"
    created_at: Timestamp
    updated_at: Timestamp
    archived_at: Timestamp | None = None
