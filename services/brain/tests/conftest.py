"""Fixtures of the brain's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.support.brain_stage import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    playing = Stage()
    yield playing
    await playing.close()
