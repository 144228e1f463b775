"""``efferent gateway``, ``brain``, ``hands``, ``automation``: one service in the foreground.

The only place that imports services; each is imported when it is the one to run.
"""

import argparse
import os
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError

from efferent.cli.errors import CommandError
from efferent.common.runtime import logging as json_logging
from efferent.common.runtime.service import DRAIN_BUDGET_S, Service, run
from efferent.common.runtime.settings import HostSettings

Build = Callable[[], Service]


def main(arguments: argparse.Namespace) -> int:
    """Run the service that the command line names. Returns its exit code. Raises CommandError."""
    name: str = arguments.name
    try:
        json_logging.configure(name, HostSettings().log_level)
        build = _BUILDERS[name]()
    except ValidationError as error:
        raise CommandError(f"a setting of {name} is wrong: {describe(error)}") from error
    return run(name, build, drain_budget_s=float(os.environ.get("EFFERENT_DRAIN_BUDGET_S", DRAIN_BUDGET_S)))


def describe(error: ValidationError) -> str:
    """The problems one after the other, without the values, which may be secrets."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()
    )


def _gateway() -> Build:
    from efferent.cli.keyed_gateway import KeyedGateway
    from efferent.gateway.app import build
    from efferent.gateway.settings import GatewaySettings

    settings = GatewaySettings()
    key = os.environ.get("EFFERENT_API_KEY")
    if not key:
        return lambda: build(settings)
    return lambda: KeyedGateway(build(settings), key, nats=settings.nats, replicas=settings.replicas)


def _brain() -> Build:
    from efferent.brain.app import build
    from efferent.brain.settings import BrainSettings

    settings = BrainSettings()
    return lambda: build(settings)


def _hands() -> Build:
    from efferent.hands.app import build
    from efferent.hands.settings import HandsSettings

    settings = HandsSettings()
    return lambda: build(settings)


def _automation() -> Build:
    from efferent.automation.app import build
    from efferent.automation.settings import AutomationSettings

    settings = AutomationSettings()
    return lambda: build(settings)


_BUILDERS: Final[dict[str, Callable[[], Build]]] = {
    "gateway": _gateway,
    "brain": _brain,
    "hands": _hands,
    "automation": _automation,
}
