"""The commands as a person types them: what cannot work is told in one line per fault, with exit code 2."""

import re
import socket
import tomllib

import pytest

from tests.integration.processes import Child, House, Server, serve_command

PROGRAM = "scheduler-server: "


async def run(house: House, *words: str, plain: bool = False, **environ: str) -> Child:
    """One command of the program, to its end."""
    command = [*serve_command()[:-1], *words]
    child = house.child(command, environ=environ, plain=plain)
    await child.ended()
    return child


async def refused(house: House, *words: str, plain: bool = False, **environ: str) -> list[str]:
    """`serve` with something wrong: its lines on stderr, each of the one form, and nothing else anywhere."""
    child = await run(house, "serve", *words, plain=plain, **environ)
    assert child.code == 2, child.errors
    assert child.lines == []
    assert child.errors
    for line in child.errors:
        assert line.startswith(PROGRAM), child.errors
        assert "Traceback" not in line
    return [line.removeprefix(PROGRAM) for line in child.errors]


def here(house: House, port: int = 0) -> list[str]:
    """Flags of a server that would start."""
    return ["--server-listen", f"127.0.0.1:{port}", "--storage-state-folder", str(house.folder / "state")]


# ---------------------------------------------------------------------- what cannot start


async def test_a_port_that_is_taken_is_named(house: House) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (line,) = await refused(house, *here(house, port))
    assert line == (f"server.listen: cannot listen on 127.0.0.1:{port}: the port is taken, or the address is not ours")


async def test_a_port_that_another_server_has_is_taken(house: House) -> None:
    server = await house.server()
    (line,) = await refused(house, *here(house, server.port)[:2], "--storage-state-folder", str(house.folder / "b"))
    assert "cannot listen on" in line
    assert await server.terminate() == 0


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:99999", ":", "127.0.0.1:http", ""])
async def test_an_address_that_is_none_is_named(house: House, address: str) -> None:
    lines = await refused(house, "--server-listen", address, *here(house)[2:])
    assert len(lines) == 1
    assert "server.listen" in lines[0]


async def test_a_state_folder_that_is_a_file_is_named(house: House) -> None:
    (house.folder / "state").write_text("a file")
    (line,) = await refused(house, *here(house))
    assert line == f"state folder {house.folder / 'state'}: is not a directory"
    (line,) = await refused(house, *here(house)[:3], str(house.folder / "state" / "below"))
    assert line.startswith(f"state folder {house.folder / 'state' / 'below'}: cannot be created: ")


async def test_a_state_folder_that_cannot_be_written_is_named(house: House) -> None:
    folder = house.folder / "state"
    folder.mkdir(mode=0o500)
    (line,) = await refused(house, *here(house), plain=True)
    assert line == f"state folder {folder}: is not writable: Permission denied"
    (line,) = await refused(house, *here(house)[:3], str(folder / "below"), plain=True)
    assert line == f"state folder {folder / 'below'}: cannot be created: Permission denied"
    folder.chmod(0o700)


async def test_a_state_folder_of_another_server_is_left_alone(house: House) -> None:
    server = await house.server()
    (line,) = await refused(house, *here(house))
    assert line == f"state folder {house.folder / 'state'}: is in use by another server (pid {server.pid})"
    assert server.running
    assert (await server.status()).version


async def test_a_folder_name_with_a_line_break_breaks_no_line(house: House) -> None:
    folder = house.folder / "two\nlines\x1b[31m"
    folder.write_text("a file")
    (line,) = await refused(house, *here(house)[:3], str(folder))
    assert line.endswith(": is not a directory")
    assert "\x1b" not in line


async def test_a_folder_name_that_is_none_is_named(house: House) -> None:
    (line,) = await refused(house, *here(house)[:3], "~nobody-of-this-name/state")
    assert line.startswith("storage.state_folder: '~nobody-of-this-name/state': ")
    file = house.folder / "config.toml"
    file.write_text('[storage]\nstate_folder = "a\\u0000b"\n')
    (line,) = await refused(house, *here(house)[:2], "--config", str(file))
    assert line.startswith("state folder a\\u0000b: ")


# ---------------------------------------------------------------------- what is configured wrongly


async def test_an_unknown_flag_variable_and_key_are_named_with_what_may_be_meant(house: House) -> None:
    file = house.folder / "config.toml"
    file.write_text("[health]\nunhealthy_after = 3\n")
    lines = await refused(
        house,
        *here(house),
        "--server-lisen=127.0.0.1:1",
        "--config",
        str(file),
        SCHEDULER_LOG_LEVLE="info",
    )
    assert len(lines) == 3
    by_name = {line.partition(":")[0]: line for line in lines}
    assert "did you mean --server-listen?" in by_name["--server-lisen"]
    assert "did you mean SCHEDULER_LOG_LEVEL?" in by_name["SCHEDULER_LOG_LEVLE"]
    assert f"{file}" in by_name["health.unhealthy_after"]
    assert "unknown setting" in by_name["health.unhealthy_after"]


async def test_every_fault_is_told_at_once_with_where_its_value_came_from(house: House) -> None:
    file = house.folder / "config.toml"
    file.write_text('[health]\nhealthy_within_s = "soon"\n[predictor]\nema_alpha = 1.5\n[scorer]\nstrategy = "best"\n')
    lines = await refused(
        house,
        "--fallback-failure-threshold",
        "0",
        "--config",
        str(file),
        SCHEDULER_WORKER_DEFAULT_SLOTS="many",
        SCHEDULER_LOG_FORMAT="xml",
    )
    names = sorted(line.partition(":")[0] for line in lines)
    assert names == [
        "fallback.failure_threshold",
        "health.healthy_within_s",
        "log.format",
        "predictor.ema_alpha",
        "scorer.strategy",
        "worker.default_slots",
    ]
    told = "\n".join(lines)
    assert "from flag --fallback-failure-threshold" in told
    assert "from environment SCHEDULER_LOG_FORMAT" in told
    assert f"from file {file}" in told


async def test_settings_that_contradict_each_other_are_told(house: House) -> None:
    lines = await refused(house, "--health-remove-after-s", "5")
    assert [line.partition(":")[0] for line in lines] == ["health.remove_after_s"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[health\n", "is not a usable TOML file"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"health = 3\n", "is a section"),
        (None, "cannot read"),
    ],
    ids=["syntax", "encoding", "section", "missing"],
)
async def test_a_configuration_file_that_is_none_is_one_line(house: House, content: bytes | None, what: str) -> None:
    file = house.folder / "config.toml"
    if content is not None:
        file.write_bytes(content)
    (line,) = await refused(house, "--config", str(file))
    assert what in line
    (line,) = await refused(house, SCHEDULER_CONFIG=str(file))
    assert what in line


# ---------------------------------------------------------------------- what is asked


async def test_help_names_every_setting_and_starts_nothing(house: House) -> None:
    child = await run(house, "serve", "--help", "--server-listen", "nonsense")
    text = "\n".join(child.lines)
    assert child.code == 0
    assert child.errors == []
    assert not (house.folder / ".local").exists()
    printed = await run(house, "serve", "--print-config")
    settings = re.findall(r"^(\w+) = ", "\n".join(printed.lines), re.MULTILINE)
    assert len(settings) > 40
    for name in settings:
        assert f"-{name.replace('_', '-')}" in text, name


async def test_the_printed_configuration_loads_again_and_says_the_same(house: House) -> None:
    words = ["--worker-default-slots", "7", "--predictor-type-defaults-ms", "resize=250", "--profile", "slow"]
    first = await run(house, "serve", "--print-config", *words, SCHEDULER_LOG_FORMAT="json")
    assert first.code == 0, first.errors
    text = "\n".join(first.lines) + "\n"
    tree = tomllib.loads(text)
    assert (tree["profile"], tree["worker"]["default_slots"], tree["log"]["format"]) == ("slow", 7, "json")
    assert tree["predictor"]["type_defaults_ms"] == {"resize": 250}
    assert tree["health"]["unhealthy_after_s"] == 900
    for name, origin in (
        ("default_slots", "flag --worker-default-slots"),
        ("format", "environment SCHEDULER_LOG_FORMAT"),
        ("unhealthy_after_s", "profile slow"),
        ("recovered_load", "default"),
    ):
        assert any(re.match(rf"{name} = .*# .*{origin}", line) for line in first.lines), name
    file = house.folder / "printed.toml"
    file.write_text(text)
    second = await run(house, "serve", "--print-config", "--config", str(file))
    assert second.code == 0, second.errors
    assert tomllib.loads("\n".join(second.lines)) == tree
    # And a server starts with it, as far as its address and folder are given.
    server = await house.server(config=file)
    assert (await server.status()).policy.profile == "slow"


async def test_flags_go_before_environment_before_file(house: House) -> None:
    file = house.folder / "config.toml"
    file.write_text("[worker]\ndefault_slots = 2\nhand_over_s = 2\nlost_track_after_s = 2\n")
    child = await run(
        house,
        "serve",
        "--print-config",
        "--worker-default-slots=4",
        SCHEDULER_CONFIG=str(file),
        SCHEDULER_WORKER_DEFAULT_SLOTS="3",
        SCHEDULER_WORKER_HAND_OVER_S="3",
    )
    worker = tomllib.loads("\n".join(child.lines))["worker"]
    assert [worker[name] for name in ("default_slots", "hand_over_s", "lost_track_after_s")] == [4, 3, 2]


async def test_version_settings_and_help_answer(house: House) -> None:
    version = await run(house, "version")
    assert (version.code, version.errors) == (0, [])
    assert re.fullmatch(r"scheduler-server \d+\.\d+\.\d+", version.lines[0])
    table = await run(house, "settings")
    assert table.code == 0
    assert sum(line.startswith("|") for line in table.lines) > 40
    assert any("health.unhealthy_after_s" in line for line in table.lines)
    usage = await run(house, "--help")
    assert usage.code == 0
    for command in ("serve", "demo", "health", "settings", "version"):
        assert any(line.startswith(f"  {command} ") for line in usage.lines)
    unknown = await run(house, "sevre")
    assert (unknown.code, unknown.lines) == (2, [])
    assert unknown.errors == ["scheduler-server: unknown command 'sevre'; see scheduler-server --help"]


async def test_health_asks_the_server_and_its_exit_code_tells(house: House) -> None:
    server = await house.server()
    for service in ("", "scheduler_api.v1.ScheduleService", "scheduler_api.v1.AdminService"):
        asked = await run(house, "health", "--address", server.address, "--service", service)
        assert (asked.code, asked.lines, asked.errors) == (0, ["SERVING"], [])
    unknown = await run(house, "health", "--address", server.address, "--service", "nobody.v1.Knows")
    assert (unknown.code, unknown.errors) == (1, [f"scheduler-server health: {server.address}: NOT_FOUND"])
    assert await server.terminate() == 0
    nobody = await run(house, "health", "--address", server.address)
    assert (nobody.code, nobody.errors) == (1, [f"scheduler-server health: {server.address}: UNAVAILABLE"])


# ---------------------------------------------------------------------- what is left


async def test_a_state_folder_is_for_its_owner_only_and_one_of_an_earlier_server_is_taken_up(house: House) -> None:
    server = await house.server()
    folder = house.folder / "state"
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert await server.terminate() == 0
    for file in folder.iterdir():
        assert oct(file.stat().st_mode & 0o077) == "0o0", file
    again = await house.server()
    again.process.kill()
    await again.ended()
    third = await house.server()  # nothing of the killed one has to be cleaned up
    assert third.running


async def test_without_a_state_folder_nothing_is_written_and_the_status_says_so(house: House) -> None:
    server = Server(serve_command("--server-listen", "127.0.0.1:0", "--storage-state-folder", ""), house.folder)
    house.keep(server)
    await server.serving()
    status = await server.status()
    warnings = {store.name: list(store.warnings) for store in status.stores}
    assert set(warnings) == {"journal", "snapshot", "tasks", "decision_log"}
    for name in ("journal", "snapshot"):
        assert "nothing survives a restart: storage.state_folder is empty" in warnings[name]
    assert await server.terminate() == 0
    assert list(house.folder.iterdir()) == []
