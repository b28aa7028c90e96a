"""Every fault at once, by name, with its origin, and nothing but one line each."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler_server.config import load
from scheduler_server.model.setting import setting
from tests.unit.config.test_sources import faults, loaded, written


def test_all_faults_of_all_sources_are_reported_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, "levle = 'debug'\n[health]\nunhealthy_after_s = 3601\n[helth]\nx = 1\n")
    assert faults(
        *("--lissten", "x", "stray", "--limit", "0", "--predictor-default-ms", "1.5"),
        file=file,
        SCHEDULER_HEALTH_STRICT="perhaps",
        SCHEDULER_HEALTH_INNER_DEEPTH="1",
    ) == [
        "--lissten: unknown flag; did you mean --listen?",
        "stray: unexpected argument: settings are given as --name value",
        "SCHEDULER_HEALTH_INNER_DEEPTH: unknown environment variable; did you mean SCHEDULER_HEALTH_INNER_DEPTH?",
        f"levle: unknown setting; did you mean level? (from file {file})",
        f"helth: unknown setting; did you mean health? (from file {file})",
        "limit: must be at least 1 (got 0, from flag --limit)",
        f"health.unhealthy_after_s: must be at most 3600 (got 3601, from file {file})",
        "health.strict: must be true or false (got perhaps, from environment SCHEDULER_HEALTH_STRICT)",
        "predictor.default_ms: must be a whole number (got 1.5, from flag --predictor-default-ms)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.999", "must be at least 1"),
        ("3600.001", "must be at most 3600"),
        ("-3", "must be at least 1"),
        ("nan", "must be a finite number"),
        ("inf", "must be a finite number"),
        ("-Infinity", "must be a finite number"),
        ("1e999", "must be a finite number"),
        ("", "must be a number"),
        ("ten", "must be a number"),
        ("0x10", "must be a number"),
    ],
)
def test_a_number_outside_its_limits_is_refused_with_its_origin(text: str, message: str) -> None:
    name = "SCHEDULER_HEALTH_UNHEALTHY_AFTER_S"
    expected = f"health.unhealthy_after_s: {message} (got {text}, from environment {name})"
    assert faults("--health-degraded-after-s=0.5", file=None, **{name: text}) == [expected]


@pytest.mark.parametrize("text", ["1", "3600", "1.000001", "3599.999"])
def test_a_number_at_or_just_inside_its_limits_is_taken(text: str) -> None:
    result = loaded("--health-degraded-after-s=0.5", "--health-unhealthy-after-s", text)
    assert result.config.health.unhealthy_after_s == float(text)


def test_an_exclusive_limit_refuses_itself_and_takes_what_is_just_above() -> None:
    assert faults("--health-degraded-after-s=0") == [
        "health.degraded_after_s: must be above 0 (got 0, from flag --health-degraded-after-s)"
    ]
    assert loaded("--health-degraded-after-s=5e-324").config.health.degraded_after_s == 5e-324


@pytest.mark.parametrize(
    ("toml", "path", "message"),
    [
        ("limit = 3.0", "limit", "must be a whole number"),
        ("limit = true", "limit", "must be a whole number"),
        ("limit = '3'", "limit", "must be a whole number"),
        ("limit = 9223372036854775808", "limit", "must fit into 64 bits"),
        ("limit = []", "limit", "must be a whole number"),
        ("level = 5", "level", "must be text"),
        ("level = 'inof'", "level", "must be one of debug, info, warning; did you mean info?"),
        ("flavour = 'souer'", "flavour", "must be one of sweet, sour; did you mean sour?"),
        ("listen = 'a'", "listen", "must be a list"),
        ("listen = [1]", "listen", "must be text"),
        ("folder = ''", "folder", "must be a path"),
        ("folder = '~/x'", "folder", "must be written out: ~ is the shell's, and is not expanded here"),
        ("health.strict = 1", "health.strict", "must be true or false"),
        ("health.degraded_after_s = nan", "health.degraded_after_s", "must be a finite number"),
        ("predictor.types = {a = 'x'}", "predictor.types", "must be a list, at key a"),
        ("predictor.types = 5", "predictor.types", "must be a table of key = value"),
        (
            "predictor.category_defaults_ms = {good = 1, bad = -1}",
            "predictor.category_defaults_ms",
            "must be at least 0, at key bad",
        ),
        (
            "predictor.category_defaults_ms = {bad = inf}",
            "predictor.category_defaults_ms",
            "must be a finite number, at key bad",
        ),
    ],
)
def test_a_value_of_the_wrong_type_in_the_file_names_what_it_must_be(
    tmp_path: Path, toml: str, path: str, message: str
) -> None:
    file = written(tmp_path, toml)
    (line,) = faults(file=file)
    assert line.startswith(f"{path}: {message} (got ")
    assert line.endswith(f", from file {file})")


@pytest.mark.parametrize("text", ["bug", "=5", "bug=", "bug=x", "bug=nan"])
def test_a_malformed_map_in_a_flag_is_one_fault(text: str) -> None:
    (line,) = faults("--predictor-category-defaults-ms", text)
    assert line.startswith("predictor.category_defaults_ms: must be ")


@pytest.mark.parametrize("text", ["1__0", "9" * 5000, "٣", "1e3", "0b1"])
def test_odd_whole_numbers_are_refused_in_one_bounded_line(text: str) -> None:
    (line,) = faults("--limit", text)
    assert line.startswith("limit: must be a whole number (got ")
    assert len(line) < 250


def test_a_refused_value_cannot_forge_a_second_line() -> None:
    (line,) = faults("--limit", "1\nlevel: fine\x1b[2J")
    assert "1\\u000alevel: fine\\u001b[2J" in line


def test_a_secret_is_never_repeated() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Secrets:
        codes: dict[str, int] = setting({}, "codes", secret=True, minimum=10)

    with pytest.raises(Exception, match="codes") as caught:
        load(Secrets, ["--codes=hunter2=5"], {})
    assert str(caught.value) == "codes: is not valid (got ********, from flag --codes)"


def test_a_check_across_fields_is_reported_with_value_and_origin() -> None:
    assert faults("--health-degraded-after-s=30") == [
        "health.degraded_after_s: must be below unhealthy_after_s (got 30.0, from flag --health-degraded-after-s)"
    ]
    assert loaded("--health-degraded-after-s=29.999").config.health.degraded_after_s == 29.999


def test_checks_of_one_section_still_run_when_another_section_is_faulty() -> None:
    lines = faults("--health-degraded-after-s=30", "--predictor-default-ms=0")
    assert [line.split(":")[0] for line in lines] == ["predictor.default_ms", "health.degraded_after_s"]


def test_a_check_at_the_top_may_name_a_section_or_a_setting_inside_it() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Inside:
        x: int = setting(1, "x")

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Top:
        inside: Inside = Inside()

        def faults(self) -> Iterable[tuple[str, str]]:
            yield "inside.x", "must be even"
            yield "inside", "must be elsewhere"
            yield "", "must not be"

    Top.__annotations__["inside"] = Inside  # both are local: nothing else could resolve the name
    with pytest.raises(Exception, match="inside") as caught:
        load(Top, [], {})
    assert str(caught.value).splitlines() == [
        "inside.x: must be even (got 1, from default)",
        "inside: must be elsewhere",
        "configuration: must not be",
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"level = ", "is not a usable TOML file: Invalid value"),
        (b"level = '\xff'", "is not UTF-8 at byte 9"),
        (b"x = " + b"[" * 20_000, "is not a usable TOML file: "),
        (b"#" * ((4 << 20) + 1), "is larger than 4194304 bytes"),
    ],
)
def test_an_unusable_file_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    (line,) = faults(file=path)
    assert line.startswith(f"config: {path} ")
    assert reason in line
    assert line.endswith("(from flag --config)")


def test_a_missing_file_and_a_folder_are_one_line_each(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert faults(SCHEDULER_CONFIG=str(missing)) == [
        f"config: cannot read {missing}: No such file or directory (from environment SCHEDULER_CONFIG)"
    ]
    assert faults(file=tmp_path) == [f"config: cannot read {tmp_path}: Is a directory (from flag --config)"]
    assert faults("--config=") == ["--config: needs a path"]


def test_a_section_written_as_a_value_says_so(tmp_path: Path) -> None:
    file = written(tmp_path, "health = 5")
    assert faults(file=file) == [f"health: is a section: write it as a table (from file {file})"]


def test_two_settings_of_one_name_or_a_field_without_declaration_are_defects_of_the_program() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Inside:
        b_c: int = setting(1, "x")

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Twice:
        a_b_c: int = setting(1, "x")
        a: Inside = Inside()

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Bare:
        x: int = 5

    Twice.__annotations__["a"] = Inside
    with pytest.raises(ValueError, match="two settings of Twice are called --a-b-c"):
        load(Twice, [], {})
    with pytest.raises(TypeError, match=r"Bare\.x is neither a setting"):
        load(Bare, [], {})
