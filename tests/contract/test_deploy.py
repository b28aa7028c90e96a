"""deploy/: the files fit their schemas, each other, and the server's settings."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scheduler_server.config import ConfigError, load
from scheduler_server.dispatch.setup import cautions
from scheduler_server.settings import PROFILES, Settings
from tests.redis_server import redis_server

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
PROMETHEUS = DEPLOY / "prometheus.yml"
DATASOURCE = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
SERVICES = {"server", "redis", "clickhouse", "prometheus", "grafana"}


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def services() -> dict[str, Any]:
    found: dict[str, Any] = read(COMPOSE)["services"]
    return found


def by_schema(path: Path) -> "subprocess.CompletedProcess[str]":
    """Checks against the Compose specification's own schema, which the tool carries with it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def published(service: dict[str, Any]) -> dict[int, str]:
    """Ports of a container, and the address of this machine that each is bound to."""
    found = {}
    for words in service.get("ports", ()):
        address, own, inside = words.rsplit(":", 2)
        assert own == inside
        found[int(inside)] = address
    return found


def test_the_compose_file_is_what_the_specification_says() -> None:
    checked = by_schema(COMPOSE)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("restart: unless-stopped", "restarts: unless-stopped"), ("condition: service_healthy", "condition: healthy")],
)
def test_the_schema_would_notice_a_slip(tmp_path: Path, right: str, wrong: str) -> None:
    slip = tmp_path / "compose.yaml"
    slip.write_text(COMPOSE.read_text().replace(right, wrong))
    assert by_schema(slip).returncode == 1


def test_docker_itself_takes_it_where_it_is_there() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--file", str(COMPOSE), "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_all_five_are_there_checked_for_health_pinned_and_reachable_from_this_machine_only() -> None:
    assert services().keys() == SERVICES
    for name, service in services().items():
        assert service["healthcheck"]["test"], name
        assert set(published(service).values()) == {"127.0.0.1"}, name
        if name != "server":
            assert re.fullmatch(r"[a-z/-]+:v?\d[\w.-]*@sha256:[0-9a-f]{64}", service["image"]), name
    assert (COMPOSE.parent / services()["server"]["build"]["context"] / "Dockerfile").exists()


def test_what_each_keeps_is_in_a_volume_and_what_it_reads_exists() -> None:
    kept = set()
    for service in services().values():
        for words in service["volumes"]:
            source, _, *mode = words.split(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists()
                assert mode == ["ro"]
            else:
                kept.add(source)
    assert kept == set(read(COMPOSE)["volumes"])
    assert len(kept) == len(SERVICES)


def settings() -> Settings:
    """What the server in the container gets: the image's settings, and those of the file above them."""
    image = dict(re.findall(r"^ +(SCHEDULER_\w+)=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert len(image) == 3
    given = services()["server"]["environment"]
    assert all(name.startswith("SCHEDULER_") for name in given)
    return load(Settings, [], image | given, profiles=PROFILES).config


def test_every_setting_of_the_server_exists_and_leads_to_the_others() -> None:
    config = settings()
    for url in (config.dispatch.url, config.storage.snapshot_url):
        assert re.fullmatch(r"redis://redis:6379/\d", url)
    assert 6379 in published(services()["redis"])
    for listen in (config.server.listen, config.metrics.listen):
        host, _, port = listen.rpartition(":")
        assert host == "0.0.0.0"  # noqa: S104 -- in the container; published on the loopback address
        assert int(port) in published(services()["server"])
    assert any(
        words.startswith("server-state:" + config.storage.state_folder) for words in services()["server"]["volumes"]
    )


def test_a_setting_that_does_not_exist_would_be_noticed() -> None:
    given = {**services()["server"]["environment"], "SCHEDULER_DISPATCH_URI": "redis://redis"}
    with pytest.raises(ConfigError, match="SCHEDULER_DISPATCH_URI"):
        load(Settings, [], given, profiles=PROFILES)


def test_the_health_check_is_the_images_own() -> None:
    said = re.search(r"HEALTHCHECK .*?CMD (\[.*?\])", (ROOT / "Dockerfile").read_text(), re.DOTALL)
    assert said is not None
    assert services()["server"]["healthcheck"]["test"] == ["CMD", *YAML(typ="safe", pure=True).load(said[1])]


def test_redis_as_it_is_started_there_loses_nothing_as_the_server_sees_it(tmp_path: Path) -> None:
    program, *words = services()["redis"]["command"]
    assert program == "redis-server"
    with redis_server(tmp_path / "redis", *words) as server:
        assert list(cautions(server.client(), "redis")) == []


def test_prometheus_takes_its_file_and_reads_the_servers_metrics() -> None:
    targets = {
        job["job_name"]: [target for each in job["static_configs"] for target in each["targets"]]
        for job in read(PROMETHEUS)["scrape_configs"]
    }
    port = settings().metrics.listen.rpartition(":")[2]
    assert targets["scheduler-server"] == [f"server:{port}"]
    promtool = shutil.which("promtool")
    if promtool is None:
        why = "promtool is not installed; Debian's prometheus has it"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}, and this is CI")
        pytest.skip(why)
    command = [promtool, "check", "config", str(PROMETHEUS)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


def test_grafana_finds_prometheus_by_itself() -> None:
    (source,) = read(DATASOURCE)["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    assert 9090 in published(services()["prometheus"])
    mounted = [words for words in services()["grafana"]["volumes"] if words.endswith("/etc/grafana/provisioning:ro")]
    assert [DEPLOY / words.partition(":")[0] for words in mounted] == [DATASOURCE.parents[1]]


def test_the_readme_names_every_address() -> None:
    text = (DEPLOY / "README.md").read_text()
    for service in services().values():
        assert all(f"127.0.0.1:{port}" in text for port in published(service))
