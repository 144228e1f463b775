"""Environments in the log."""

from typing import Final

from efferent.common.control.collection import Collection
from efferent.common.domain.control import environment
from efferent.common.domain.control.environment import ENVIRONMENT, EnvironmentCommand
from efferent.common.domain.resources.environment import Environment

ENVIRONMENTS: Final[Collection[Environment, EnvironmentCommand]] = Collection(
    ENVIRONMENT, environment.decide, environment.not_found
)
