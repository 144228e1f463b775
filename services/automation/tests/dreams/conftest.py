"""A stage for each test."""

from pathlib import Path

import pytest

from efferent.common.jetstream.connection import Connection
from efferent.common.runtime.settings import NatsSettings
from services.automation.tests.dreams.dream_rig import DreamStage


@pytest.fixture
async def dreaming(connection: Connection, nats: NatsSettings, tmp_path: Path) -> DreamStage:
    """A log, a clock, and a reactor."""
    made = DreamStage(connection, nats, tmp_path)
    await made.open()
    return made
