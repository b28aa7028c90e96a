"""Settings of the alerts: what may be set, and that each fault is told with its rule."""

import re
from pathlib import Path

import pytest

from scheduler_server.alerts.manual import render_markdown
from scheduler_server.alerts.rule import About
from scheduler_server.alerts.rules import BY_NAME, RULES
from scheduler_server.alerts.settings import AlertSettings
from scheduler_server.config import ConfigError, load
from scheduler_server.settings import PROFILES, Settings


def faults(**fields: object) -> list[str]:
    return [f"{field}: {said}" for field, said in AlertSettings(**fields).faults()]  # type: ignore[arg-type]


def test_the_defaults_have_no_fault_and_all_rules() -> None:
    assert faults() == []
    assert AlertSettings().rules() == RULES


def test_names_of_rules_are_their_own_and_their_limits_are_in_order() -> None:
    assert len(BY_NAME) == len(RULES)
    for rule in RULES:
        assert rule.in_order, rule.name
        assert rule.name.replace("_", "").islower()
        assert min(rule.threshold, rule.clear_threshold) >= 0
        assert max(rule.threshold, rule.clear_threshold) <= rule.most
        assert rule.meaning
        assert rule.advice
        assert rule.for_s >= 0
        assert isinstance(rule.about, About)


def test_limits_are_set_by_rule_and_the_others_stay() -> None:
    settings = AlertSettings(
        threshold={"waiting_age": 20.0},
        clear_threshold={"waiting_age": 10.0},
        for_s={"drift": 7.0},
        off=("workers_lost",),
    )
    own = {rule.name: rule for rule in settings.rules()}
    assert (own["waiting_age"].threshold, own["waiting_age"].clear_threshold) == (20.0, 10.0)
    assert own["drift"].for_s == 7.0
    assert own.keys() == BY_NAME.keys() - {"workers_lost"}
    assert own["breaker_open"] is not None
    assert own["breaker_open"] == BY_NAME["breaker_open"]


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("off", ("drit",), "off: there is no rule 'drit'; did you mean drift?"),
        ("threshold", {"waiting": 1.0}, "threshold: there is no rule 'waiting'; did you mean waiting_age?"),
        ("for_s", {"zzz": 1.0}, "for_s: there is no rule 'zzz'; there are sustained_high_load, "),
        ("threshold", {"queue_near_full": 1.1}, "threshold: queue_near_full must be 0 to 1 (got 1.1)"),
        ("threshold", {"waiting_age": -1.0}, "threshold: waiting_age must be 0 to 1e+09 (got -1)"),
        ("threshold", {"waiting_age": float("nan")}, "threshold: waiting_age must be 0 to 1e+09 (got nan)"),
        ("for_s", {"drift": 86_401.0}, "for_s: drift must be 0 to 86400 (got 86401)"),
        (
            "clear_threshold",
            {"waiting_age": 300.0},
            "clear_threshold: waiting_age must be below its threshold, 300 (is 300)",
        ),
        (
            "threshold",
            {"prediction_accuracy": 1.0},
            "clear_threshold: prediction_accuracy must be above its threshold, 1 (is 1)",
        ),
    ],
)
def test_a_fault_names_the_field_the_rule_and_the_limit(field: str, given: object, said: str) -> None:
    [told] = faults(**{field: given})
    assert told.startswith(said)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("threshold", {"queue_near_full": 1.0}),
        ("for_s", {"drift": 86_400.0}),
        ("clear_threshold", {"waiting_age": 299.0}),
        ("threshold", {"prediction_accuracy": 0.999}),
    ],
)
def test_just_within_the_limits_is_no_fault(field: str, given: object) -> None:
    assert faults(**{field: given}) == []


@pytest.mark.parametrize(
    ("name", "threshold", "clear"),
    [("waiting_age", 600.0, 240.0), ("prediction_accuracy", 0.4, 0.48), ("workers_lost", 9.0, 0.0),
     ("no_active_worker", 4.0, 5.0), ("prediction_accuracy", 0.9, 1.0)],
)  # fmt: skip
def test_a_threshold_takes_the_clear_threshold_with_it(name: str, threshold: float, clear: float) -> None:
    own = {rule.name: rule for rule in AlertSettings(threshold={name: threshold}).rules()}
    assert own[name].clear_threshold == pytest.approx(clear)


def test_they_are_settings_of_the_server_by_flag_environment_and_file() -> None:
    words = ["--alerts-threshold", "waiting_age=60,drift=9", "--alerts-off", "workers_lost,drift"]
    config = load(Settings, words, {"SCHEDULER_ALERTS_FOR_S": "waiting_age=1"}, profiles=PROFILES).config
    assert config.alerts.threshold == {"waiting_age": 60.0, "drift": 9.0}
    assert config.alerts.off == ("workers_lost", "drift")
    assert config.alerts.for_s == {"waiting_age": 1.0}
    with pytest.raises(ConfigError, match=r"alerts\.threshold"):
        load(Settings, ["--alerts-threshold", "waiting_ag=60"], {}, profiles=PROFILES)


def test_the_page_has_the_table_as_it_is_and_its_example_can_be_loaded(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "alerts.md").read_text()
    assert render_markdown() in page, "make alerts"
    file = tmp_path / "alerts.toml"
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file.write_text(example)
    alerts = load(Settings, ["--config", str(file)], {}, profiles=PROFILES).config.alerts
    own = {rule.name: rule for rule in alerts.rules()}
    assert "drift" not in own
    assert own["waiting_age"].clear_threshold == 720
    assert alerts.clear_after_s == 30
