"""docs/demand.md: its queries are PromQL that Prometheus takes, and answer what the page says they do."""

import json
import re
import subprocess
from pathlib import Path

from scheduler_server.telemetry.instruments import INSTRUMENTS
from tests.integration.promtool import program

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "demand.md").read_text()

NEEDED = 'scheduler_demand_class_needed{class="gpu",instance="server:9464",job="scheduler-server"}'


def queries() -> list[str]:
    """Those of the examples, with what an adapter fills in."""
    found = [line.partition(": ")[2] for line in PAGE.splitlines() if re.match(r"\s+(query|metricsQuery): ", line)]
    found += re.findall(r"`(max\(scheduler_demand[^`]+)`", PAGE)
    return [query.replace("<<.LabelMatchers>>", 'class="gpu"') for query in found]


def test_every_metric_on_the_page_exists() -> None:
    known = {row.prometheus for row in INSTRUMENTS}
    named = set(re.findall(r"scheduler_demand_(?:slots|class)_[a-z_]+", PAGE)) - {"scheduler_demand_slots"}
    assert named >= {"scheduler_demand_class_needed", "scheduler_demand_slots_needed", "scheduler_demand_slots_present"}
    assert named <= known
    ends = re.findall(r"`(_[a-z_]+)`", PAGE.partition("## Metrics")[2].partition("\n\n")[0] + PAGE)
    assert {f"scheduler_demand_class{end}" for end in ends} <= known


def test_the_queries_of_the_examples_answer_the_slots_needed(tmp_path: Path) -> None:
    assert len(queries()) == 3
    rules = {"groups": [{"name": "demand", "rules": [{"record": f"demand:{n}", "expr": q} for n, q in _numbered()]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))  # JSON is YAML
    told = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": NEEDED, "values": "14x3"},
                    {"series": NEEDED.replace("gpu", "any"), "values": "20x3"},
                    {"series": NEEDED.replace("gpu", "any").replace("needed", "present"), "values": "8x3"},
                ],
                "promql_expr_test": [
                    {"expr": q, "eval_time": "2m", "exp_samples": [{"labels": "{}", "value": 12 if "any" in q else 14}]}
                    for _, q in _numbered()
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(told))
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        ran = subprocess.run(
            [program("promtool"), *command], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def _numbered() -> list[tuple[int, str]]:
    return list(enumerate(queries()))
