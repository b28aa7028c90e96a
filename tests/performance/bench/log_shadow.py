"""Assign with three shadow policies beside the live one: real servers, whole answers over gRPC. Part of BENCH=log.

The baseline is a server that keeps no log and tries no policy. Held against it: the same with its decision log, and the
same with log and policies, whose comparisons go to the log too. A closed loop, with an outcome for each task.
"""

import random
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from scheduler_server.app import make_core
from scheduler_server.model.clock import Now
from scheduler_server.settings import Settings
from scheduler_server.shadow.observing import Shadow
from scheduler_server.shadow.settings import ShadowSettings
from tests.performance.bench.assign import HELD
from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.servers import Servers, closed_loop

POLICIES = ("round_robin", "least_loaded", "earliest_finish")
_SCORER = "weighted"
_WORKERS = 10_000
_WINDOW_S = 1.5
_PAIRS = 20
_WARM_UP_S = 2.0
_RATIO = 0.9
_APPEND_US = 1.0
_APPENDS = 500_000


class ShadowServers(Servers):
    """The server without a log, with its log, and with policies beside the live one."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.workers = _WORKERS
        self.children = {}
        try:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            told: dict[str, dict[str, Any]] = {
                BASELINE: {"history": "off"},
                "log": {"history": ""},
                "shadow": {"history": "", "shadow": POLICIES},
            }
            for name, arguments in told.items():
                state = str(folder / name)
                self._start(name, "ours_server", scorer=_SCORER, workers=_WORKERS, state_folder=state, **arguments)
            self.addresses = {name: str(child.wait_ready()["address"]) for name, child in self.children.items()}
        except BaseException:
            self._stack.close()
            raise


def run(plan: Plan) -> dict[str, Any]:
    """Alone."""
    fields, targets = measured(plan)
    return report("log_shadow", fields, targets, plan.pair_count(_PAIRS), plan.window_s(_WINDOW_S))


def measured(plan: Plan) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures, and the target."""
    window_s = plan.window_s(_WINDOW_S)
    with ShadowServers() as servers:
        client = servers.client("closed_loop", workers=_WORKERS)
        cpu_us: dict[str, list[float]] = {each: [] for each in servers.children}

        def rate(name: str) -> float:
            loaded = closed_loop(servers, client, name, window_s, held=HELD)
            cpu_us[name].append(loaded.server_cpu_us)
            return loaded.per_s

        for each in servers.children:
            closed_loop(servers, client, each, _WARM_UP_S, held=HELD)
        rates = compare(rate, plan.pair_count(_PAIRS), ("log", "shadow"))
        counted = servers.children["shadow"].ask("shadow")
    fields: dict[str, Any] = {
        name: {**ratio_fields(rates, name), "cpu_us": rounded(median(cpu_us[name]))} for name in ("log", "shadow")
    }
    baseline = {"per_s": rounded(median(rates.windows[BASELINE])), "cpu_us": rounded(median(cpu_us[BASELINE]))}
    fields |= {"off": baseline, "policies": list(POLICIES), "workers": _WORKERS, "counted": counted}
    fields["append_us"] = _append_us()
    progress(f"log: with shadow policies: {fields}")
    return fields, [
        ratio_target(">=", _RATIO, fields["shadow"], "shadow ratio"),
        target("shadow append us", "<=", _APPEND_US, fields["append_us"]),
    ]


def _append_us() -> float:
    """Processor time that the live path pays for each decision, beyond which everything happens later."""
    now = Now(0.0, 0.0)
    core = make_core(Settings(), now, "bench")
    shell: Any = SimpleNamespace(core=core, changes=[], now=lambda: now)
    settings = ShadowSettings(policies=POLICIES)
    Shadow(shell, settings, put=None, random=random.Random(1), stopwatch=time.perf_counter)
    (shadow,) = shell.changes
    lease: Any = SimpleNamespace(live=True)
    began = time.thread_time()
    for _ in range(_APPENDS):
        shadow.of_lease(lease)
    return rounded((time.thread_time() - began) / _APPENDS * 1e6)
