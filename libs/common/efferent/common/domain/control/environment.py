"""Environments: commands, and what they decide. Names are unique in a workspace, archived environments not counted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from efferent.common.domain.control.aggregate import UNSET, Change, ControlRecord, Given, Kind, SetFacts
from efferent.common.domain.control.metadata import merged
from efferent.common.domain.ids import EnvironmentId
from efferent.common.domain.refusals import Conflict, InvalidRequest, NotFound
from efferent.common.domain.resources.environment import (
    CloudConfig,
    Environment,
    EnvironmentConfig,
    LimitedNetwork,
    Packages,
    SelfHostedConfig,
    UnrestrictedNetwork,
)
from efferent.common.domain.timestamp import Timestamp

NAME_LENGTH_MAX: Final = 256
DESCRIPTION_LENGTH_MAX: Final = 2_048
HOSTS_MAX: Final = 1_000
HOST_LENGTH_MAX: Final = 253
PACKAGES_MAX: Final = 1_000
"""Entries per package manager."""
PACKAGE_LENGTH_MAX: Final = 512

_MANAGERS: Final = ("apt", "cargo", "gem", "go", "npm", "pip")
_HOST: Final = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.I)
_PACKAGE: Final = re.compile(r"[^\s\x00-\x1f-][^\x00-\x1f]*")
"""Not empty, no control characters, and never what a package manager would read as an option."""


def _admit(environment: Environment, facts: SetFacts) -> None:
    if facts.holder is not None:
        raise Conflict(f'An environment named "{environment.name}" already exists: {facts.holder}')


ENVIRONMENT: Final[Kind[Environment]] = Kind(
    name="environment",
    prefix="env_",
    record=ControlRecord[Environment],
    noun="environment",
    within="workspace",
    unique_name=lambda environment: environment.name,
    admit=_admit,
)


@dataclass(frozen=True, slots=True)
class NetworkPatch:
    """Networking of a request: of a limited network, what is not mentioned stays."""

    limited: bool
    allowed_hosts: Given[tuple[str, ...]] = UNSET
    allow_mcp_servers: Given[bool] = UNSET
    allow_package_managers: Given[bool] = UNSET


@dataclass(frozen=True, slots=True)
class CloudPatch:
    """A cloud config of a request; what is not mentioned stays."""

    networking: Given[NetworkPatch] = UNSET
    packages: Given[Packages] = UNSET


@dataclass(frozen=True, slots=True)
class SelfHostedPatch:
    """A self-hosted config of a request: it has no settings."""


ConfigPatch = CloudPatch | SelfHostedPatch


@dataclass(frozen=True, slots=True)
class CreateEnvironment:
    """Make an environment."""

    id: EnvironmentId
    name: str
    description: str | None = None
    config: ConfigPatch = field(default_factory=CloudPatch)
    metadata: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateEnvironment:
    """Change what is mentioned."""

    name: Given[str] = UNSET
    description: Given[str | None] = UNSET
    config: Given[ConfigPatch] = UNSET
    metadata: Mapping[str, str | None] = field(default_factory=dict)
    """A patch: null or an empty text removes a key."""


@dataclass(frozen=True, slots=True)
class ArchiveEnvironment:
    """Make the environment read-only."""


@dataclass(frozen=True, slots=True)
class DeleteEnvironment:
    """Remove the environment; sessions that use it stay readable."""


EnvironmentCommand = CreateEnvironment | UpdateEnvironment | ArchiveEnvironment | DeleteEnvironment


def decide(current: Environment | None, command: EnvironmentCommand, now: Timestamp) -> Change[Environment] | None:
    """The next state; None when nothing changes. Raises InvalidRequest, NotFound, Conflict."""
    match command:
        case CreateEnvironment():
            if current is not None:
                raise Conflict(f"environment {command.id} exists already")
            return Change("created", _create(command, now))
        case UpdateEnvironment():
            return _update(_existing(current), command, now)
        case ArchiveEnvironment():
            environment = _existing(current)
            if environment.archived_at is not None:
                return None
            now = max(now, environment.updated_at)
            return Change("archived", environment.model_copy(update={"archived_at": now, "updated_at": now}))
        case DeleteEnvironment():
            return Change("deleted", _existing(current))


def not_found() -> NotFound:
    """The refusal when there is no such environment."""
    return NotFound("Environment not found.", code="environment_not_found")


def _create(command: CreateEnvironment, now: Timestamp) -> Environment:
    start: EnvironmentConfig = SelfHostedConfig() if isinstance(command.config, SelfHostedPatch) else CloudConfig()
    return Environment(
        id=command.id,
        name=command.name,
        description=command.description,
        config=_patched(start, command.config),
        metadata=_metadata({}, command.metadata),
        created_at=now,
        updated_at=now,
    )


def _update(environment: Environment, command: UpdateEnvironment, now: Timestamp) -> Change[Environment] | None:
    if environment.archived_at is not None:
        raise InvalidRequest(f"Environment {environment.id} is archived.", code="environment_archived")
    changes: dict[str, object] = {"metadata": _metadata(environment.metadata, command.metadata)}
    if command.name is not UNSET:
        changes["name"] = command.name
    if command.description is not UNSET:
        changes["description"] = command.description
    if command.config is not UNSET:
        changes["config"] = _patched(environment.config, command.config)
    changed = environment.model_copy(update=changes)
    if changed == environment:
        return None
    return Change("updated", changed.model_copy(update={"updated_at": max(now, environment.updated_at)}))


def _metadata(stored: Mapping[str, str], patch: Mapping[str, str | None]) -> dict[str, str]:
    return merged(stored, patch, empty_deletes=True, code="invalid_metadata")


def _patched(config: EnvironmentConfig, patch: ConfigPatch) -> EnvironmentConfig:
    match config, patch:
        case CloudConfig(), CloudPatch():
            return _checked(_patched_cloud(config, patch))
        case SelfHostedConfig(), SelfHostedPatch():
            return config
        case _:
            raise InvalidRequest("config.type: cannot be changed", code="invalid_config_type_change")


def _patched_cloud(config: CloudConfig, patch: CloudPatch) -> CloudConfig:
    networking: UnrestrictedNetwork | LimitedNetwork = config.networking
    if patch.networking is not UNSET:
        networking = _patched_network(networking, patch.networking)
    packages = config.packages if patch.packages is UNSET else patch.packages
    return CloudConfig(networking=networking, packages=packages)


def _patched_network(
    network: UnrestrictedNetwork | LimitedNetwork, patch: NetworkPatch
) -> UnrestrictedNetwork | LimitedNetwork:
    if not patch.limited:
        return UnrestrictedNetwork()
    base = network if isinstance(network, LimitedNetwork) else LimitedNetwork()
    given = {
        "allowed_hosts": patch.allowed_hosts,
        "allow_mcp_servers": patch.allow_mcp_servers,
        "allow_package_managers": patch.allow_package_managers,
    }
    return base.model_copy(update={name: value for name, value in given.items() if value is not UNSET})


def _checked(config: CloudConfig) -> CloudConfig:
    packages = {manager: getattr(config.packages, manager) for manager in _MANAGERS}
    for manager, entries in packages.items():
        _check_packages(f"config.packages.{manager}", entries)
    if isinstance(config.networking, LimitedNetwork):
        _check_hosts("config.networking.allowed_hosts", config.networking.allowed_hosts)
        if any(packages.values()) and not config.networking.allow_package_managers:
            raise InvalidRequest(
                "config.packages: packages with limited networking require "
                "config.networking.allow_package_managers to be true"
            )
    return config


def _check_hosts(place: str, hosts: Sequence[str]) -> None:
    if len(hosts) > HOSTS_MAX:
        raise InvalidRequest(f"{place}: at most {HOSTS_MAX} hosts are allowed")
    for index, host in enumerate(hosts):
        if len(host) > HOST_LENGTH_MAX or _HOST.fullmatch(host) is None:
            raise InvalidRequest(
                f'{place}.{index}: must be a hostname or "*." and a hostname, without scheme, port or path'
            )


def _check_packages(place: str, entries: Sequence[str]) -> None:
    if len(entries) > PACKAGES_MAX:
        raise InvalidRequest(f"{place}: at most {PACKAGES_MAX} packages are allowed")
    for index, entry in enumerate(entries):
        if len(entry) > PACKAGE_LENGTH_MAX or _PACKAGE.fullmatch(entry) is None:
            raise InvalidRequest(f"{place}.{index}: not the name of a package")


def _existing(current: Environment | None) -> Environment:
    if current is None:
        raise not_found()
    return current
