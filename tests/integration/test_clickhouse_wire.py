"""The wire, against a server that is not ours: Debian's clickhouse-server, 18.16. Too old for the log, which says so.

Runs where one is installed (`apt-get install clickhouse-server`), or where SCHEDULER_TEST_CLICKHOUSE_SERVER names the
program.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client

from scheduler_server.storage.decision_log import LogError, LogFault
from scheduler_server.storage.decision_log.clickhouse_client import Connection
from scheduler_server.storage.decision_log.clickhouse_log import ClickHouseLog
from scheduler_server.storage.decision_log.clickhouse_url import parse

_LAUNCH = Path(__file__).parent / "launch.py"
_STARTED_WITHIN_S = 30.0

_CONFIG = """<yandex>
<logger><level>warning</level><console>1</console></logger>
<tcp_port>{port}</tcp_port><listen_host>127.0.0.1</listen_host>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
<users_config>{folder}/users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>1000000</mark_cache_size><timezone>UTC</timezone>
</yandex>"""
_USERS = """<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>
<password>s3cret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
</default></users></yandex>"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = os.environ.get("SCHEDULER_TEST_CLICKHOUSE_SERVER") or shutil.which(
        "clickhouse-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin"
    )
    if not program:
        if os.environ.get("CI") == "true":
            pytest.fail("clickhouse-server is not installed, and this is CI")
        pytest.skip("clickhouse-server is not installed")
    folder = tmp_path_factory.mktemp("clickhouse")
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        number = int(tried.getsockname()[1])
    (folder / "users.xml").write_text(_USERS)
    config = folder / "config.xml"
    config.write_text(_CONFIG.format(port=number, folder=folder))
    command = [sys.executable, "-S", str(_LAUNCH), str(os.getpid()), program, f"--config-file={config}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    until = time.monotonic() + _STARTED_WITHIN_S
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", number), 1.0):
            break
        assert process.poll() is None, (folder / "log").read_text()[-2_000:]
        assert time.monotonic() < until, (folder / "log").read_text()[-2_000:]
        time.sleep(0.02)
    yield number
    process.kill()
    process.wait(20)


@pytest.fixture
def client(port: int) -> Iterator[Any]:
    client = Client("127.0.0.1", port, password="s3cret")
    yield client
    client.disconnect()


def test_values_of_each_base_type_go_and_come_back(port: int, client: Any) -> None:
    connection = Connection(
        parse(f"clickhouse://default:s3cret@127.0.0.1:{port}/wire"), timeout_s=10.0, connect_timeout_s=5.0
    )
    connection.ask("SELECT 1")  # makes the database
    connection.ask(
        "CREATE TABLE t (s String, i Int64, u UInt8, f Float64, n Nullable(Float64), at DateTime, a Array(String)) "
        "ENGINE = MergeTree() PARTITION BY toYYYYMM(at) ORDER BY i"
    )
    text = "a'b\"c\\d\n\0é\U0001f680"
    rows: list[tuple[Any, ...]] = [
        (text, -(2**63), 255, -1e300, None, 1_700_000_000, ["x", text]),
        ("", 2**63 - 1, 0, 5e-324, 0.5, 1_700_000_001, []),
        *((str(number), number, number % 256, number / 3, None, 1_700_000_002, []) for number in range(1_000)),
    ]
    connection.insert("t", ("s", "i", "u", "f", "n", "at", "a"), rows, "")  # it knows no tokens
    found = connection.ask("SELECT * FROM t WHERE s = ? OR i = ? ORDER BY i", [text, 2**63 - 1])
    at = datetime.fromtimestamp(1_700_000_000, UTC).replace(tzinfo=None)
    assert [(*row[:5], row[6]) for row in found] == [(*row[:5], row[6]) for row in rows[:2]]
    assert found[0][5] == at
    assert connection.ask("SELECT count(), sum(i) FROM t WHERE i >= 0 AND i < 1000") == [(1_000, 499_500)]
    with pytest.raises(LogError, match="refused") as caught:
        connection.ask("SELECT * FROM nothing")
    assert caught.value.reason is LogFault.REFUSED
    assert connection.ask("SELECT 1") == [(1,)]  # an error costs the connection, and the next question makes one
    connection.close()


def test_a_wrong_password_is_refused_and_not_repeated(port: int) -> None:
    log = ClickHouseLog(parse(f"clickhouse://default:wr0ng@127.0.0.1:{port}/wire"))
    with pytest.raises(LogError, match="refused") as caught:
        log.prepare()
    assert "wr0ng" not in str(caught.value)
    log.close()


def test_a_server_that_is_too_old_is_told_by_its_version(port: int, client: Any) -> None:
    if not str(client.execute("SELECT version()")[0][0]).startswith("18."):
        pytest.skip("this one is not Debian's")
    log = ClickHouseLog(parse(f"clickhouse://default:s3cret@127.0.0.1:{port}/wire"))
    with pytest.raises(LogError, match=r"ClickHouse 18\.16\.1 is older than 22\.8"):
        log.prepare()
    log.close()
