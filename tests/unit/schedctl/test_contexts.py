"""Which server is meant, and the file that says so."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.schedctl import contexts
from scheduler_server.schedctl.contexts import Context, Contexts
from scheduler_server.schedctl.fault import Asked, Failed

TWO = Contexts(
    current="near",
    known={
        "near": Context(server="127.0.0.1:1"),
        "far": Context(server="far:2", ca_file="/ca", token_file="/token", timeout_s=2.5),
    },
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"}


@pytest.fixture
def two(environment: dict[str, str]) -> dict[str, str]:
    contexts.write(contexts.path(environment), TWO)
    return environment


def test_the_file_is_where_xdg_says(tmp_path: Path) -> None:
    assert contexts.path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "schedctl" / "config.toml"
    assert contexts.path({"HOME": "/home/me"}) == Path("/home/me/.config/schedctl/config.toml")
    assert contexts.path({"XDG_CONFIG_HOME": "not/absolute", "HOME": "/h"}) == Path("/h/.config/schedctl/config.toml")
    assert contexts.path({"SCHEDCTL_CONFIG": "/elsewhere.toml", "HOME": "/h"}) == Path("/elsewhere.toml")


def test_what_is_written_is_read_again_and_is_only_its_owners(two: dict[str, str]) -> None:
    file = contexts.path(two)
    assert contexts.read(file) == TWO
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["config.toml"]


@given(st.text(min_size=1, max_size=30))
def test_any_path_survives_the_file(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    if any("\ud800" <= each <= "\udfff" for each in name):
        return
    file = tmp_path_factory.mktemp("c") / "config.toml"
    made = Contexts(current="a", known={"a": Context(ca_file=name)})
    contexts.write(file, made)
    assert contexts.read(file) == made


def test_no_file_is_no_contexts(environment: dict[str, str]) -> None:
    assert contexts.read(contexts.path(environment)) == Contexts()


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("current = ", "is not TOML"),
        ("currant = 'a'", "unknown key 'currant'"),
        ("current = 1", "current must be a text"),
        ("contexts = 1", "contexts a table"),
        ("[contexts]\na = 1", "contexts.a: must be a table"),
        ("[contexts.a]\nsever = 'x'", "unknown key 'sever'; did you mean server?"),
        ("[contexts.a]\nserver = 1", "contexts.a.server: must be a text, not 1"),
        ("[contexts.a]\ntls = 'yes'", "contexts.a.tls: must be true or false"),
        ("[contexts.a]\ntimeout_s = true", "must be a number"),
        ("[contexts.a]\ntimeout_s = nan", "timeout must be 0 to 3,600"),
        ("[contexts.a]\ntimeout_s = 3601", "timeout must be 0 to 3,600"),
        ("[contexts.a]\nserver = ''", "server must be host:port"),
        ("[contexts.a]\nserver = 'a b'", "server must be host:port"),
        ("[contexts.a]\ncert_file = 'x'", "cert_file and key_file go together"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_understood_is_told_with_its_place(tmp_path: Path, said: str, fault: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(said.encode("latin-1"))
    with pytest.raises(Asked) as told:
        contexts.read(file)
    assert str(told.value).startswith(f"{file}: ")
    assert fault in str(told.value)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "schedctl").write_text("a file, where a folder belongs")
    with pytest.raises(Failed, match="cannot be written"):
        contexts.write(tmp_path / "schedctl" / "config.toml", TWO)


def test_options_beat_the_environment_which_beats_the_context_in_use(two: dict[str, str]) -> None:
    def server(**options: str) -> str:
        return contexts.chosen(options, two).server

    assert server() == "127.0.0.1:1"
    two["SCHEDCTL_CONTEXT"] = "far"
    assert server() == "far:2"
    del two["SCHEDCTL_CONTEXT"]
    two["SCHEDCTL_SERVER"] = "env:3"
    assert server() == "env:3"
    assert server(context="far") == "far:2"
    assert server(server="option:4") == "option:4"


def test_without_anything_it_is_the_default(environment: dict[str, str]) -> None:
    place = contexts.chosen({}, environment)
    assert (place.server, place.timeout_s) == ("127.0.0.1:50051", 5.0)


def test_a_server_that_is_named_itself_never_gets_the_token_of_a_context(two: dict[str, str]) -> None:
    two["SCHEDCTL_CONTEXT"] = "far"
    assert contexts.chosen({"server": "other:1"}, two).context == Context(server="other:1")
    assert contexts.chosen({"context": "far"}, two).context.token_file == "/token"


def test_an_option_changes_one_field_of_a_context(two: dict[str, str]) -> None:
    chosen = contexts.chosen({"context": "far", "timeout_s": 9.0}, two)
    assert (chosen.timeout_s, chosen.context.ca_file) == (9.0, "/ca")


def test_a_context_that_is_not_there_is_told_with_names_that_are_near(two: dict[str, str]) -> None:
    with pytest.raises(Asked, match="no context 'fra'; did you mean far"):
        contexts.chosen({"context": "fra"}, two)
    with pytest.raises(Asked, match="no context 'zzz'; known are far, near"):
        contexts.chosen({"context": "zzz"}, two)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "\x1b", "a" * 65])
def test_a_name_needs_no_quotes_anywhere(name: str) -> None:
    with pytest.raises(Asked):
        contexts.check_name(name)
    assert contexts.check_name("a" * 64)
