"""A stage for each test."""

from pathlib import Path

import pytest

from efferent.common.jetstream.connection import Connection
from efferent.common.runtime.settings import NatsSettings
from services.automation.tests.deployments.deployment_rig import Stage


@pytest.fixture
async def stage(connection: Connection, nats: NatsSettings, tmp_path: Path) -> Stage:
    """A log, a clock, and those who work with them."""
    made = Stage(connection, nats, tmp_path)
    await made.open()
    return made
