"""1,000 changes of the configuration at 500 Assign/s: does a call fail, and do decisions carry revisions that were?

BENCH_SECONDS: time for the changes; as fast as they go by default.
"""

import asyncio
import tempfile
from pathlib import Path
from statistics import quantiles
from typing import Any

from tests.config_storm import Storm
from tests.integration.processes import housed
from tests.performance.harness import Plan, report, rounded, target

_CHANGES, _PER_S = 1_000, 500.0
_FASTEST_PER_S = 100.0


def run(plan: Plan) -> dict[str, Any]:
    """One server process, one client process."""
    return asyncio.run(_run(plan))


async def _run(plan: Plan) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        async with housed(Path(name)) as house:
            server = await house.server()
            storm = Storm(server.address, per_s=_PER_S)
            try:
                changes_per_s = _FASTEST_PER_S if plan.seconds is None else _CHANGES / plan.seconds
                await storm.run(_CHANGES, changes_per_s)
                known = await storm.revisions()
            finally:
                await storm.close()
    failed = sum(count for code, count in storm.codes.items() if code != "OK")
    unknown = sum(count for revision, count in storm.carried.items() if revision not in known)
    fields = {
        "changes": len(storm.took_s),
        "revisions": len(storm.answered),
        "calls": sum(storm.codes.values()),
        "assigns_per_s": rounded(sum(storm.codes.values()) / storm.lasted_s),
        "revisions_carried": len(storm.carried),
        "change_p50_ms": rounded(1e3 * quantiles(storm.took_s, n=100)[49]),
        "change_p99_ms": rounded(1e3 * quantiles(storm.took_s, n=100)[98]),
        "failed_by_code": {code: count for code, count in storm.codes.items() if code != "OK"},
    }
    targets = [target("failed calls", "<=", 0.0, failed), target("decisions of no revision", "<=", 0.0, unknown)]
    return report("config", fields, targets, 1, None)
