"""The same as assign, with 100,000 workers."""

from typing import Any

from tests.performance.bench import assign
from tests.performance.harness import Plan


def run(plan: Plan) -> dict[str, Any]:
    """See assign."""
    return assign.run(plan, name="assign100k", workers=100_000, reach=0.80)
