"""deploy/rules over scrapes of a real server: what fires is worked out by promtool, Prometheus' own tool."""

import json
import os
import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

RULES = Path(__file__).resolve().parents[2] / "deploy" / "rules" / "scheduler.yml"
JOB, INSTANCE = "scheduler-server", "server:9464"


def program(name: str) -> str:
    """promtool or prometheus. Skips the test where there is none; under CI=true that is a failure."""
    found = shutil.which(name)
    if found is not None:
        return found
    why = f"{name} is not installed; Debian's prometheus has it"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{why}, and this is CI")
    pytest.skip(why)


OF_REAL_TIME = ("SchedulerAssignSlow", "SchedulerDecisionsSlow")
"""Alerts that a machine busy with other tests may raise in good faith."""


def fires(folder: Path, scrapes: Sequence[str], expected: Collection[str], *, up: Sequence[int] | None = None) -> None:
    """Scrapes a minute apart, read by Prometheus, raise exactly the `expected` alerts at some time or other.

    Those of real time are looked at only where they are expected.
    `up` is what Prometheus says of the target at each of them: 1 where it could be read; empty, there is no target.
    """
    ups = [1] * len(scrapes) if up is None else list(up)
    last = f"{max(len(scrapes), len(ups)) - 1}m"
    passed_over = "|".join(name for name in OF_REAL_TIME if name not in expected)
    firing = f'ALERTS{{alertstate="firing",alertname!~"{passed_over}"}}'
    ever = f"count by (alertname) (max_over_time({firing}[{last}]))"
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(set(expected))]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": list(_series(scrapes)) + ([_one("up", {}, ups)] if ups else []),
                "promql_expr_test": [
                    {"expr": f"{ever} > bool 0", "eval_time": last, "exp_samples": samples},
                ],
            }
        ],
    }
    file = folder / "rules_test.yml"
    file.write_text(json.dumps(test))  # JSON is YAML
    command = [program("promtool"), "test", "rules", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _series(scrapes: Sequence[str]) -> Iterable[dict[str, str]]:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], dict[int, float]] = {}
    for minute, text in enumerate(scrapes):
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                found.setdefault(key, {})[minute] = sample.value
    for (name, labels), values in found.items():
        yield _one(name, dict(labels), [values.get(minute) for minute in range(len(scrapes))])


def _one(name: str, labels: dict[str, str], values: Sequence[float | None]) -> dict[str, str]:
    """`_` is a scrape without the series."""
    named = {"job": JOB, "instance": INSTANCE} | labels
    inside = ",".join(f"{label}={json.dumps(value)}" for label, value in named.items())
    told = " ".join("_" if value is None else repr(float(value)) for value in values)
    return {"series": f"{name}{{{inside}}}", "values": told}
