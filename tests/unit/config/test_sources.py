"""Which source wins, and how each spells a value."""

from pathlib import Path

import pytest

from scheduler_server.config import ConfigError, Loaded, load
from tests.unit.config.schema import PROFILES, Flavour, Schema


def loaded(*argv: str, file: Path | None = None, **environ: str) -> Loaded[Schema]:
    if file is not None:
        argv = (*argv, "--config", str(file))
    return load(Schema, argv, environ, profiles=PROFILES)


def faults(*argv: str, file: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(*argv, file=file, **environ)
    return str(caught.value).splitlines()


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_without_any_source_every_value_is_the_default() -> None:
    result = loaded()
    assert result.config == Schema()
    assert {str(origin) for origin in result.origins.values()} == {"default"}


def test_flag_beats_environment_beats_file_beats_profile_beats_default(tmp_path: Path) -> None:
    file = written(tmp_path, "profile = 'slow'\n[health]\nunhealthy_after_s = 700\n")
    variable = {"SCHEDULER_HEALTH_UNHEALTHY_AFTER_S": "800"}
    flag = "--health-unhealthy-after-s=850"
    path = "health.unhealthy_after_s"
    steps = [
        (loaded(), 30.0, "default"),
        (loaded("--profile", "slow"), 900.0, "profile slow"),
        (loaded(file=file), 700.0, f"file {file}"),
        (loaded(file=file, **variable), 800.0, "environment SCHEDULER_HEALTH_UNHEALTHY_AFTER_S"),
        (loaded(flag, file=file, **variable), 850.0, "flag --health-unhealthy-after-s"),
    ]
    for result, value, origin in steps:
        assert (result.value(path), str(result.origins[path])) == (value, origin)


def test_the_file_may_be_named_by_the_environment_and_the_flag_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text("level = 'debug'")
    second.write_text("level = 'warning'")
    assert loaded(SCHEDULER_CONFIG=str(first)).config.level == "debug"
    assert loaded(SCHEDULER_CONFIG=str(first), file=second).config.level == "warning"


def test_every_type_reads_the_same_from_flags_environment_and_file(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        listen = ["a:1", "b:2"]
        state = "/s"
        limit = 3
        flavour = "sour"
        [health]
        strict = true
        inner.depth = -4
        [predictor.category_defaults_ms]
        feature = 7200000
        bug = 0.5
        [predictor.types]
        gpu = ["render", "train"]
        cpu = []
        """,
    )
    by_flag = loaded(
        *("--listen", "a:1,b:2", "--state", "/s", "--limit=3", "--flavour", "sour", "--health-strict"),
        *("--health-inner-depth", "-4", "--predictor-category-defaults-ms", "feature=7200000,bug=.5"),
        *("--predictor-types", "gpu=render,gpu=train", "--predictor-types", "cpu="),
    )
    by_variable = loaded(
        SCHEDULER_LISTEN="a:1, b:2",
        SCHEDULER_STATE="/s",
        SCHEDULER_LIMIT="3",
        SCHEDULER_FLAVOUR="sour",
        SCHEDULER_HEALTH_STRICT="yes",
        SCHEDULER_HEALTH_INNER_DEPTH="-4",
        SCHEDULER_PREDICTOR_CATEGORY_DEFAULTS_MS="feature=7.2e6, bug=0.5",
        SCHEDULER_PREDICTOR_TYPES="gpu=render, gpu=train, cpu=",
    )
    by_file = loaded(file=file)
    assert by_flag.config == by_variable.config == by_file.config
    config = by_file.config
    assert config.listen == ("a:1", "b:2")
    assert (config.state, config.limit, config.flavour) == (Path("/s"), 3, Flavour.SOUR)
    assert (config.health.strict, config.health.inner.depth) == (True, -4)
    assert config.predictor.category_defaults_ms == {"feature": 7200000.0, "bug": 0.5}
    assert config.predictor.types == {"gpu": ("render", "train"), "cpu": ()}


def test_lists_and_maps_grow_when_their_flag_comes_again_and_single_values_take_the_last() -> None:
    result = loaded("--listen=a", "--listen", "b,c", "--limit=1", "--limit=2")
    assert result.config.listen == ("a", "b", "c")
    assert result.config.limit == 2


def test_empty_text_takes_an_optional_value_away(tmp_path: Path) -> None:
    file = written(tmp_path, "limit = 4\nstate = '/s'")
    assert loaded("--limit=", file=file, SCHEDULER_STATE="").config == Schema()


def test_a_switch_is_turned_off_by_no_and_by_an_explicit_value(tmp_path: Path) -> None:
    file = written(tmp_path, "[health]\nstrict = true")
    assert loaded(file=file).config.health.strict
    assert not loaded("--no-health-strict", file=file).config.health.strict
    assert not loaded("--health-strict=false", file=file).config.health.strict
    assert faults("--health-strict", "false") == ["--health-strict: takes its value as --health-strict=false"]


def test_a_value_may_begin_with_one_dash_but_two_need_an_equals_sign() -> None:
    assert loaded("--token", "-x").config.token == "-x"
    assert loaded("--token=--x").config.token == "--x"
    assert faults("--token", "--level", "debug") == ["--token: needs a value"]
    assert faults("--token") == ["--token: needs a value"]


def test_help_is_answered_even_when_everything_else_is_wrong() -> None:
    assert load(Schema, ["--nonsense", "-h"], {"SCHEDULER_LIMIT": "x"}).wants_help
    assert loaded("--print-config").wants_print_config
    assert not loaded().wants_help


def test_switches_of_the_program_itself_are_handed_back() -> None:
    result = load(Schema, ["--check"], {}, switches={"check": "only check"})
    assert result.switches == {"check"}


def test_variables_of_others_and_service_links_of_kubernetes_are_left_alone() -> None:
    environ = {
        "SCHEDULER_SERVICE_HOST": "10.0.0.1",
        "SCHEDULER_SERVER_SERVICE_PORT_GRPC": "50051",
        "SCHEDULER_PORT": "tcp://10.0.0.1:50051",
        "SCHEDULER_PORT_50051_TCP_ADDR": "10.0.0.1",
        "SCHEDULER_QUARRY_ID": "somebody",
        "OTHER": "x",
    }
    assert load(Schema, [], environ, ignored_variables=["SCHEDULER_QUARRY_ID"]).config == Schema()
    with pytest.raises(ConfigError, match=r"^SCHEDULER_QUARRY_ID: unknown environment variable$"):
        load(Schema, [], environ)


def test_profile_values_are_overridden_one_by_one() -> None:
    result = loaded("--profile=slow", "--health-unhealthy-after-s=1000")
    assert (result.config.health.unhealthy_after_s, result.config.health.degraded_after_s) == (1000.0, 600.0)
    assert result.config.listen == ("a:1", "b:2")
    assert str(result.origins["listen"]) == "profile slow"


def test_an_unknown_profile_is_a_fault_with_a_suggestion() -> None:
    assert faults("--profile=slwo") == [
        "profile: must be one of slow; did you mean slow? (got slwo, from flag --profile)"
    ]


def test_a_profile_that_sets_an_unknown_path_is_a_defect_of_the_program() -> None:
    with pytest.raises(ValueError, match="profile odd sets what no setting is called: nowhere"):
        load(Schema, [], {}, profiles={"odd": {"nowhere": 1}})
