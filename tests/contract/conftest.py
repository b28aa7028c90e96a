"""Fixtures of the contract tests."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.server import Running, running


@pytest.fixture
async def live() -> AsyncIterator[Running]:
    """A real server with default settings, nothing kept, on a clock that stands still."""
    async with running() as server:
        yield server
