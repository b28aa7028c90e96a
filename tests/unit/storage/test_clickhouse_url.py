"""URLs of ClickHouse: what is understood, and that nothing secret of one that is not is repeated."""

import pytest

from scheduler_server.storage.decision_log.clickhouse_url import ClickHouseAddress, ClickHouseUrlError, parse


@pytest.mark.parametrize(
    ("url", "expected", "shown"),
    [
        (
            "clickhouse://localhost",
            ClickHouseAddress(hosts=(("localhost", 9_000),)),
            "clickhouse://default@localhost:9000/scheduler",
        ),
        (
            "clickhouse://ann:p%40ss%3A@a:1,b/log",
            ClickHouseAddress(hosts=(("a", 1), ("b", 9_000)), database="log", user="ann", password="p@ss:"),
            "clickhouse://ann:***@a:1,b:9000/log",
        ),
        (
            "clickhouses://[::1]:65535/log?verify=false&ca_certs=/etc/ca.pem",
            ClickHouseAddress(hosts=(("::1", 65_535),), database="log", tls=True, verify=False, ca_certs="/etc/ca.pem"),
            "clickhouses://default@[::1]:65535/log",
        ),
        (
            "clickhouses://a/",
            ClickHouseAddress(hosts=(("a", 9_440),), tls=True),
            "clickhouses://default@a:9440/scheduler",
        ),
    ],
)
def test_a_url_is_understood_and_shown_without_its_password(url: str, expected: ClickHouseAddress, shown: str) -> None:
    found = parse(url)
    assert found == expected
    assert found.shown == shown
    assert "p@ss" not in repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "http://u:s3cret@a",
        "clickhouse://u:s3cret@",
        "clickhouse://u:s3cret@a:0",
        "clickhouse://u:s3cret@a:65536",
        "clickhouse://u:s3cret@a:9000x",
        "clickhouse://u:s3cret@a/x/y",
        "clickhouse://u:s3cret@a/x`y",
        "clickhouse://u:s3cret@a?verify=true",
        "clickhouses://u:s3cret@a?verify=maybe",
        "clickhouses://u:s3cret@a?verify=true&verify=true",
        "clickhouses://u:s3cret@a?other=1",
        "clickhouse://u:s3#cret@a",
        "clickhouse://[u:s3cret@a",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_anything_secret(url: str) -> None:
    with pytest.raises(ClickHouseUrlError) as caught:
        parse(url)
    assert "s3" not in str(caught.value)
