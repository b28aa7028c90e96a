"""What `--print-config`, `--help` and the documentation show."""

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.config import load, render_config, render_help, render_markdown_table
from scheduler_server.config.text import toml_value
from tests.unit.config.schema import Schema
from tests.unit.config.test_sources import loaded, written


def test_the_printed_configuration_names_the_origin_of_each_value(tmp_path: Path) -> None:
    file = written(tmp_path, "[predictor]\ndefault_ms = 7\n")
    text = render_config(loaded("--profile", "slow", "--state=/s", file=file, SCHEDULER_LIMIT="3"))
    assert text.splitlines() == [
        'profile = "slow"  # flag --profile',
        'listen = ["a:1", "b:2"]  # profile slow',
        'state = "/s"  # flag --state',
        'token = ""  # default',
        "limit = 3  # environment SCHEDULER_LIMIT",
        'level = "info"  # default',
        'flavour = "sweet"  # default',
        'folder = "/var/lib"  # default',
        "",
        "[health]",
        "degraded_after_s = 600.0  # profile slow",
        "unhealthy_after_s = 900.0  # profile slow",
        "strict = false  # default",
        "",
        "[health.inner]",
        "depth = 2  # default",
        "",
        "[predictor]",
        f"default_ms = 7  # file {file}",
        "category_defaults_ms = {bug = 60.0}  # default",
        "types = {}  # default",
    ]


def test_the_printed_configuration_loads_again_as_the_same_configuration(tmp_path: Path) -> None:
    first = loaded(
        *("--profile=slow", "--listen=x,y", "--predictor-types", "a b=c,é=d", "--limit=", "--level=debug"),
        *("--predictor-category-defaults-ms", "feature=1e300,bug=5e-324", '--folder=/a\nb\\c"d\x7f'),
    )
    second = loaded(file=written(tmp_path, render_config(first)))
    assert second.config == first.config


def test_a_secret_is_masked_and_the_mask_never_loads_as_a_value(tmp_path: Path) -> None:
    text = render_config(loaded(SCHEDULER_TOKEN="hunter2"))
    assert "hunter2" not in text
    assert '# token = "********"  # environment SCHEDULER_TOKEN; secret, masked' in text
    assert loaded(file=written(tmp_path, text)).config.token == ""


def test_a_newline_in_the_path_of_the_file_stays_in_its_comment(tmp_path: Path) -> None:
    odd = tmp_path / "a\nlevel = 'x'"
    odd.write_text("limit = 2")
    text = render_config(loaded(file=odd))
    assert tomllib.loads(text)["level"] == "info"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_as_toml(text: str) -> None:
    assert tomllib.loads(f"x = {toml_value(text)}") == {"x": text}
    assert tomllib.loads(f"x = {toml_value({text: 1})}") == {"x": {text: 1}}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_survives_as_toml(number: float) -> None:
    assert tomllib.loads(f"x = {toml_value(number)}") == {"x": number}


def test_help_shows_every_flag_by_section_with_default_unit_and_limits() -> None:
    text = render_help(Schema, program="server serve", switches={"check": "only check"}, width=100)
    lines = text.splitlines()
    assert lines[0] == "usage: server serve [--NAME VALUE]..."
    for expected in [
        "  --config PATH",
        "  --print-config",
        "  --check",
        "  --listen TEXT,...",
        "health: When is a worker unhealthy?",
        "  --health-unhealthy-after-s NUMBER",
        "      silence until unhealthy. Default 30.0 s; at least 1, at most 3600.",
        "  --health-strict",
        "  --predictor-category-defaults-ms KEY=NUMBER,...",
        "  --flavour sweet|sour",
        "      most of it. Default none; at least 1.",
    ]:
        assert expected in lines
    assert max(len(line) for line in lines) <= 100


def test_the_markdown_table_has_a_row_per_setting_and_keeps_its_columns() -> None:
    table = render_markdown_table(Schema).splitlines()
    options = load(Schema, [], {}).options
    assert len(table) == 2 + len(options)
    assert (
        "| `health.unhealthy_after_s` | `30.0` s | number, at least 1, at most 3600 "
        "| silence until unhealthy |" in table
    )
    assert '| `flavour` | `"sweet"` | one of sweet, sour | taste |' in table
    assert "| `health.strict` | `false` | true or false | refuse \\| everything |" in table
    assert all(line.replace("\\|", "").count("|") == 5 for line in table)
