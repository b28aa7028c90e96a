from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.processes import House, housed


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Starts processes; ends them all with the test, and proves that none is left."""
    async with housed(tmp_path) as made:
        yield made
