"""No-op tasks through Dask distributed, through Celery on Redis, and through ours, in turn, in one run.

Each has two worker processes and one client process of its own kind, and the client hears of the end of every task:
ours by Assign with delivery STREAM and WatchTasks, Dask's by its futures, Celery's by its store of results. A window
submits tasks with so many not yet ended, one by one or in batches. All three run throughout; one is loaded at a time.
What is compared is the cost of a task's way through the system and back, nothing else: what each promises on that way
differs, and docs/benchmarks.md says how.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tests.performance.harness import Plan, aa_fields, progress, report, rounded, target
from tests.performance.pairs import BASELINE, Compared, compare
from tests.performance.peers.setup import PEERS_PYTHON, System, celery, dask, ours
from tests.performance.processes import ChildError
from tests.performance.stats import median_interval, quantile

Setup = Callable[[Path], AbstractContextManager[System]]

WORKERS = 2
"""Worker processes of each system: one per core of the machine that this was written on."""

_SLOTS = 128
"""Tasks that one of our workers holds at once, so that batches fit. The peers hold as many in queues and buffers."""

_SETUPS: dict[str, dict[str, Setup]] = {
    "dask": {
        "8 threads": lambda folder: dask(folder, WORKERS, 8),
        "1 thread": lambda folder: dask(folder, WORKERS, 1),
        "8 threads, as delivered": lambda folder: dask(folder, WORKERS, 8, saturation="1.1"),
    },
    "celery": {
        "solo": lambda folder: celery(folder, WORKERS, pool="solo"),
        "prefork": lambda folder: celery(folder, WORKERS, pool="prefork"),
        "threads": lambda folder: celery(folder, WORKERS, pool="threads", threads=8),
    },
}
"""Which way of running a peer is the fastest depends on the machine: each is tried, and the fastest is what counts."""

WAYS = {"one_by_one": (32, 1), "batches": (2, 100)}
"""Submissions that have not ended, and tasks in each. Batches: AssignBatch, client.map, apply_async in a row."""

_PEERS = ("dask", "celery")
_AIM = 3.0
_WINDOW_S = 2.0
_PAIRS = 20
_RAMP_S = 0.3
_SETTLE_S = 0.2
_WARM_UP_S = 3.0
_ALONE_WINDOWS = 3
_TRIALS = 3
_UNHEARD_WINDOWS = 5


def run(plan: Plan) -> dict[str, Any]:
    """Every way, then one task at a time."""
    if not PEERS_PYTHON.exists():
        raise ChildError(f"{PEERS_PYTHON} does not exist; `make peers` makes it")
    window_s, pairs = plan.window_s(_WINDOW_S), plan.pair_count(_PAIRS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        trials = {peer: _tried(folder / f"try-{peer}", setups, window_s) for peer, setups in _SETUPS.items()}
        chosen = {peer: max(found, key=found.__getitem__) for peer, found in trials.items()}
        systems = {BASELINE: stack.enter_context(ours(folder, WORKERS, _SLOTS))}
        for peer, setup in chosen.items():
            systems[peer] = stack.enter_context(_SETUPS[peer][setup](folder))
        by_way = {}
        for way, (in_flight, size) in WAYS.items():
            bench = _Way(systems, way, in_flight, size)
            for name in systems:
                bench.window(name, _WARM_UP_S)
            bench.forget()
            compared = compare(partial(bench.window, seconds=window_s), pairs, list(_PEERS))
            by_way[way] = {**_compared(compared), **bench.told()}
            progress(f"peers: {way}: {by_way[way]}")
        alone = _Way(systems, "one_by_one", 1, 1)
        for _ in range(_ALONE_WINDOWS):
            for name in systems:
                alone.window(name, window_s)
        versions = {peer: systems[peer].versions for peer in _PEERS}
    unheard = _unheard(window_s)
    fields = {
        **{name: value for name, value in by_way["one_by_one"].items() if name != "cpu_us"},
        "by_way": by_way,
        "one_at_a_time_ms": alone.told()["latency_ms"],
        "ours_unheard": unheard,
        "peer_setups": chosen,
        "tried_per_s": trials,
        "workers": WORKERS,
        "ways": {way: {"in_flight": flight, "tasks_each": size} for way, (flight, size) in WAYS.items()},
        "peer_versions": versions,
    }
    targets = [
        target(f"{way} vs_{peer}", ">=", _AIM, *(found[f"vs_{peer}{end}"] for end in ("", "_lo", "_hi")))
        for way, found in by_way.items()
        for peer in _PEERS
    ]
    return report("peers", fields, targets, pairs, window_s)


def _tried(folder: Path, setups: Mapping[str, Setup], seconds: float) -> dict[str, float]:
    """Tasks per second of each, one by one, in turn."""
    in_flight, size = WAYS["one_by_one"]
    with ExitStack() as stack:
        systems = {}
        for number, (name, setup) in enumerate(setups.items()):
            own = folder / str(number)
            own.mkdir(parents=True)
            systems[name] = stack.enter_context(setup(own))
        bench = _Way(systems, "one_by_one", in_flight, size)
        for name in systems:
            bench.window(name, seconds)
        rounds = [{name: bench.window(name, seconds) for name in systems} for _ in range(_TRIALS)]
    found = {name: rounded(median(each[name] for each in rounds)) for name in systems}
    progress(f"peers: tried {found}")
    return found


def _unheard(seconds: float) -> dict[str, Any]:
    """Ours when nobody asks for the ends of tasks: what hearing of them costs. Compared with nothing of the peers'."""
    in_flight, size = WAYS["one_by_one"]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        system = stack.enter_context(ours(folder, WORKERS, in_flight // WORKERS, watched=False))
        bench = _Way({BASELINE: system}, "one_by_one", in_flight, size)
        bench.window(BASELINE, _WARM_UP_S)
        bench.forget()
        rates = [bench.window(BASELINE, seconds) for _ in range(_UNHEARD_WINDOWS)]
    return {"per_s": rounded(median(rates)), "cpu_us": bench.told()["cpu_us"]["ours"]}


class _Way:
    """One way of submitting, and what was seen of it, by system."""

    def __init__(self, systems: Mapping[str, System], way: str, in_flight: int, size: int) -> None:
        self._systems = systems
        self._way, self._in_flight, self._size = way, in_flight, size
        self.forget()

    def forget(self) -> None:
        """What came before was warming up."""
        self._took_us: dict[str, list[int]] = {name: [] for name in self._systems}
        self._cpu_us: dict[str, dict[str, list[float]]] = {name: {} for name in self._systems}

    def window(self, name: str, seconds: float) -> float:
        """Tasks per second of one system."""
        found = self._systems[name].run(self._way, seconds, _RAMP_S, self._in_flight, self._size)
        time.sleep(_SETTLE_S)
        if not found["took_us"]:
            raise ChildError(f"no task of {name} ended within {seconds:g} s")
        self._took_us[name] += found["took_us"]
        for part, cpu_s in found["cpu_s"].items():
            self._cpu_us[name].setdefault(part, []).append(cpu_s / found["all"] * 1e6)
        return float(found["per_s"])

    def told(self) -> dict[str, Any]:
        """Latency from submission until the submitter knows of the end, and processor time per task by part."""
        return {
            "latency_ms": {
                _told(name): {
                    "p50": rounded(quantile(took, 0.5) / 1e3),
                    "p99": rounded(quantile(took, 0.99) / 1e3),
                    "tasks": len(took),
                }
                for name, took in self._took_us.items()
            },
            "cpu_us": {
                _told(name): {part: rounded(median(each)) for part, each in parts.items()}
                for name, parts in self._cpu_us.items()
            },
        }


def _compared(compared: Compared) -> dict[str, Any]:
    """Rates, and ours over each peer's. The pairs are measured as the peer's over ours."""
    found: dict[str, Any] = {
        f"{_told(name)}_per_s": rounded(median_interval(values).median) for name, values in compared.windows.items()
    }
    for peer in _PEERS:
        ratio = median_interval([1.0 / each for each in compared.ratios[peer]])
        found |= {
            f"vs_{peer}": rounded(ratio.median),
            f"vs_{peer}_lo": rounded(ratio.lo),
            f"vs_{peer}_hi": rounded(ratio.hi),
        }
    return {**found, **aa_fields(compared.ratios[BASELINE])}


def _told(name: str) -> str:
    return "ours" if name == BASELINE else name
