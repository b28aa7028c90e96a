"""Rules and dashboards of deploy/: each expression is parsed and held against the table of instruments."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from scheduler_server.alerts.rules import BY_NAME
from scheduler_server.telemetry.instrument import HISTOGRAM_SAMPLES, Kind
from scheduler_server.telemetry.instruments import INSTRUMENTS, SECTIONS
from tests.contract.promql import Labels, Wrong, labels_of, metrics_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "rules" / "scheduler.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROVIDER = DEPLOY / "grafana" / "provisioning" / "dashboards" / "scheduler.yaml"

TARGET: dict[str, frozenset[str] | None] = {"job": frozenset({"scheduler-server", "prometheus"}), "instance": None}
"""What Prometheus adds to whatever it scrapes; the jobs are those of deploy/prometheus.yml."""

SEVERITIES = {"info", "warning", "critical"}
RATE_INTERVAL = "1m"


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def exported() -> dict[str, dict[str, frozenset[str] | None]]:
    """Every series that a server exports, with its labels and their values, and what Prometheus makes itself."""
    found: dict[str, dict[str, frozenset[str] | None]] = {
        "up": dict(TARGET),
        "ALERTS": {
            **TARGET,
            "alertname": frozenset(rule["alert"] for rule in alerts()),
            "alertstate": frozenset({"pending", "firing"}),
        },
    }
    for row in INSTRUMENTS:
        labels = TARGET | {label.prometheus: frozenset(label.values) for label in row.labels}
        if row.kind is not Kind.HISTOGRAM:
            found[row.prometheus] = labels
            continue
        for suffix in HISTOGRAM_SAMPLES:
            found[row.prometheus + suffix] = labels | ({"le": None} if suffix == "_bucket" else {})
    return found


def groups() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = read(RULES)["groups"]
    return listed


def alerts() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"] if "alert" in rule]


def known() -> dict[str, dict[str, frozenset[str] | None]]:
    """What is exported, and what recording rules make of it, in their order."""
    series = exported()
    for group in groups():
        for rule in group["rules"]:
            if "record" in rule:
                labels = labels_of(rule["expr"], series)
                series[rule["record"]] = {label: _values(label, rule["expr"], series) for label in labels}
    return series


def _values(label: str, expression: str, series: Any) -> frozenset[str] | None:
    """Of a recorded label: those that the metrics behind it have."""
    found = [series[metric][label] for metric in metrics_of(expression) if label in series[metric]]
    return None if None in found else frozenset().union(*found)


KNOWN = known()


# ---------------------------------------------------------------------- the checker itself


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("scheduler_leases", {"job", "instance"}),
        ("sum(rate(scheduler_decisions_total[5m]))", set()),
        ("sum by (cause) (rate(scheduler_decisions_total{source='fallback'}[5m]))", {"cause"}),
        ("sum without (cause, source) (scheduler_decisions_total)", {"job", "instance"}),
        ("scheduler_leases > 3", {"job", "instance"}),
        ("3 * -scheduler_leases", {"job", "instance"}),
        ("scheduler_leases / on (job) group_left () scheduler_slots", {"job"}),
        ("scheduler_workers and on (instance) scheduler_leases == 0", {"job", "instance", "health"}),
        ("histogram_quantile(0.9, sum by (le) (rate(scheduler_tasks_wait_seconds_bucket[5m])))", set()),
        ("max_over_time(scheduler_workers{health=~'healthy|degraded'}[10m:1m])", {"job", "instance", "health"}),
        ("absent(up{job='scheduler-server'})", {"job"}),
        ("scheduler_workers{health!='healthy'} or scheduler_leases", {"job", "instance", "health"}),
    ],
)
def test_the_labels_of_an_answer_are_known(expression: str, labels: set[str]) -> None:
    assert labels_of(expression, KNOWN) == labels


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("scheduler_lease", "no metric 'scheduler_lease'"),
        ("sum(rate(scheduler_decisions[5m]))", "no metric 'scheduler_decisions'"),
        ("scheduler_workers{healt='healthy'}", "no label 'healt'"),
        ("scheduler_workers{health='well'}", "'health' is never 'well'"),
        ("scheduler_workers{health!='well'}", "'health' is never 'well'"),
        ("scheduler_workers{health=~'healthy|well'}", "'health' is never 'well'"),
        ("scheduler_workers{health!~'well.*'}", "'health' is never 'well"),
        ("up{job='scheduler'}", "'job' is never 'scheduler'"),
        ("sum by (caus) (scheduler_decisions_total)", "grouped by caus"),
        ("max_over_time(sum by (caus) (scheduler_decisions_total)[5m:1m])", "grouped by caus"),
        ("-(scheduler_lease)", "no metric"),
        ("scheduler_leases and on (health) scheduler_workers", "joined on health"),
        ("scheduler_leases / scheduler_workers", "without `on`"),
        ("scheduler_leases and scheduler_workers", "without `on`"),
        ("histogram_quantile(0.9, scheduler_leases)", "needs `le`"),
    ],
)
def test_what_is_not_there_is_noticed_wherever_it_stands(expression: str, why: str) -> None:
    with pytest.raises(Wrong, match=re.escape(why)):
        labels_of(expression, KNOWN)


def test_what_is_no_promql_is_refused() -> None:
    with pytest.raises(ValueError, match="brace"):
        labels_of("scheduler_workers{health=", KNOWN)


# ---------------------------------------------------------------------- rules


def all_rules() -> list[Any]:
    return [pytest.param(rule, id=rule.get("alert") or rule["record"]) for group in groups() for rule in group["rules"]]


@pytest.mark.parametrize("rule", all_rules())
def test_a_rule_asks_for_what_there_is_and_says_what_it_can_know(rule: dict[str, Any]) -> None:
    labels = labels_of(rule["expr"], KNOWN)
    if "record" in rule:
        level = rule["record"].split(":")[0].split("_")
        wanted = {"instance": "instance", "method": "grpc_method"}
        assert {wanted[each] for each in level} | {"job"} == labels, "the level of a recorded name is its labels"
        return
    added = set(rule.get("labels", {}))
    assert (rule.get("labels", {}).get("severity") in SEVERITIES) != ("severity" in labels)
    texts = rule["annotations"]
    assert texts.keys() == {"summary", "description"}
    for text in texts.values():
        named = set(re.findall(r"\$labels\.(\w+)", text))
        assert named <= labels | added, f"{sorted(named - labels)} will be empty"
    if "instance" in labels:
        assert "$labels.instance" in texts["summary"], "which server?"


def test_names_are_told_once() -> None:
    names = [rule.get("alert") or rule["record"] for group in groups() for rule in group["rules"]]
    assert len(set(names)) == len(names)
    assert all(name.startswith("Scheduler") for name in (rule["alert"] for rule in alerts()))


def test_each_rule_of_the_server_is_passed_on_or_watched_from_outside_and_not_both() -> None:
    seen = [rule["labels"]["rule"] for rule in alerts() if "rule" in rule.get("labels", {})]
    [passed_on] = [rule for rule in alerts() if rule["alert"] == "SchedulerAlert"]
    [names] = re.findall(r'rule=~"([^"]*)"', passed_on["expr"])
    told = seen + names.split("|")
    assert sorted(told) == sorted(BY_NAME)


def test_promtool_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        why = "promtool is not installed; Debian's prometheus has it"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}, and this is CI")
        pytest.skip(why)
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", str(RULES)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_has_its_line_in_the_readme() -> None:
    text = (DEPLOY / "README.md").read_text()
    listed = re.findall(r"^\| `(Scheduler\w+)` \|", text, re.MULTILINE)
    assert listed == [rule["alert"] for rule in alerts()]


# ---------------------------------------------------------------------- dashboards


class Panel(NamedTuple):
    board: str
    panel: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.board}: {self.panel['title']}"


def boards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in DASHBOARDS}


def panels() -> Iterator[Panel]:
    for name, board in boards().items():
        for panel in board["panels"]:
            if panel["type"] != "row":
                yield Panel(name, panel)


def substituted(expression: str, instance: str = ".+") -> str:
    """As Grafana sends it, with all servers chosen."""
    return expression.replace("$__rate_interval", RATE_INTERVAL).replace("$instance", instance)


@pytest.mark.parametrize("panel", [*panels()], ids=str)
def test_a_panel_asks_for_what_there_is_and_says_what_it_shows(panel: Panel) -> None:
    spec = panel.panel
    assert spec["targets"]
    for target in spec["targets"]:
        labels: Labels = labels_of(substituted(target["expr"]), KNOWN)
        named = set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"]))
        assert named <= labels, f"{sorted(named - labels)} will be empty"
        assert "$instance" in target["expr"], "the choice of servers does not reach it"
        assert target["datasource"]["uid"] == "${datasource}"
    legends = [target["legendFormat"] for target in spec["targets"]]
    assert len(set(legends)) == len(legends)
    assert spec["title"]
    assert spec["description"].endswith(".")
    assert spec["fieldConfig"]["defaults"]["unit"]


def test_there_are_four_that_grafana_finds_by_itself() -> None:
    assert boards().keys() == {"fleet", "queue", "predictions", "stores"}
    assert len({board["uid"] for board in boards().values()}) == 4
    [provider] = read(PROVIDER)["providers"]
    mounts = dict(words.split(":")[:2] for words in read(DEPLOY / "compose.yaml")["services"]["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    rules = dict(words.split(":")[:2] for words in read(DEPLOY / "compose.yaml")["services"]["prometheus"]["volumes"])
    assert rules["./rules"] == "/etc/prometheus/rules"
    assert read(DEPLOY / "prometheus.yml")["rule_files"] == ["rules/*.yml"]


@pytest.mark.parametrize("name", [path.stem for path in DASHBOARDS])
def test_a_dashboard_is_laid_out_without_overlaps_under_rows(name: str) -> None:
    board = boards()[name]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert board["panels"][0]["type"] == "row"
    tops = [panel["gridPos"]["y"] for panel in board["panels"]]
    assert all(one <= other for one, other in pairwise(tops))
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert variables.keys() == {"datasource", "instance"}
    assert labels_of(re.findall(r"label_values\((\w+), instance\)", variables["instance"]["definition"])[0], KNOWN)
    for annotation in board["annotations"]["list"]:
        labels_of(annotation["expr"], KNOWN)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "Telemetry itself"])
def test_each_section_of_the_table_is_on_a_dashboard(section: str) -> None:
    asked = {
        metric
        for panel in panels()
        for target in panel.panel["targets"]
        for metric in metrics_of(substituted(target["expr"]))
    }
    names = asked | {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in asked}
    assert names & {row.prometheus for row in SECTIONS[section]}
