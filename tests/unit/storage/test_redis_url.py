"""Which Redis, and nothing secret of it anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.storage import RedisUrlError, parse
from scheduler_server.storage.redis_url import Kind

SECRET = "s3cr3t/@:#"
ENCODED = "s3cr3t%2F%40%3A%23"


@pytest.mark.parametrize(
    ("url", "hosts", "db", "shown"),
    [
        ("redis://cache", (("cache", 6379),), 0, "redis://cache:6379"),
        ("redis://cache:7000/3", (("cache", 7000),), 3, "redis://cache:7000/3"),
        ("redis://cache/?db=2", (("cache", 6379),), 2, "redis://cache:6379/2"),
        ("redis://[::1]:7000", (("::1", 7000),), 0, "redis://[::1]:7000"),
        ("rediss://cache", (("cache", 6379),), 0, "rediss://cache:6379"),
        ("redis+cluster://a,b:1", (("a", 6379), ("b", 1)), 0, "redis+cluster://a:6379,b:1"),
        ("rediss+cluster://a", (("a", 6379),), 0, "rediss+cluster://a:6379"),
        ("redis+sentinel://a,b:2/main", (("a", 26379), ("b", 2)), 0, "redis+sentinel://a:26379,b:2/main"),
        ("rediss+sentinel://a/main/4", (("a", 26379),), 4, "rediss+sentinel://a:26379/main/4"),
    ],
)
def test_each_form_names_its_servers(url: str, hosts: tuple[tuple[str, int], ...], db: int, shown: str) -> None:
    found = parse(url)
    assert (found.hosts, found.db, found.shown) == (hosts, db, shown)
    assert found.tls == url.startswith("rediss")


def test_a_socket_is_an_absolute_path() -> None:
    found = parse("unix://:pw@/run/redis%20one.sock?db=1")
    assert (found.kind, found.path, found.db, found.password) == (Kind.SOCKET, "/run/redis one.sock", 1, "pw")
    assert found.shown == "unix://:***@/run/redis one.sock?db=1"
    for wrong in ("unix://run/redis.sock", "unix://", "unix:///"):
        with pytest.raises(RedisUrlError, match="must name a socket by its absolute path"):
            parse(wrong)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "redis+cluster"])
def test_user_and_password_are_decoded_and_only_the_password_is_masked(scheme: str) -> None:
    service = "/main" if "sentinel" in scheme else ""
    found = parse(f"{scheme}://alice:{ENCODED}@cache{service}")
    assert (found.username, found.password) == ("alice", SECRET)
    assert found.shown.startswith(f"{scheme}://alice:***@cache")
    assert "s3cr3t" not in found.shown + repr(found)
    alone = parse(f"{scheme}://:{ENCODED}@cache{service}")
    assert (alone.username, alone.password) == ("", SECRET)
    assert alone.shown.startswith(f"{scheme}://:***@cache")


def test_sentinels_have_a_password_of_their_own() -> None:
    found = parse("redis+sentinel://:one@a/main?sentinel_username=bob&sentinel_password=two")
    assert (found.password, found.sentinel_username, found.sentinel_password) == ("one", "bob", "two")
    assert "two" not in found.shown + repr(found)


def test_options_of_tls_are_taken_with_tls_only() -> None:
    found = parse("rediss://cache?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false")
    assert dict(found.tls_options) == {
        "ssl_ca_certs": "/etc/ca.pem",
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": "false",
    }
    with pytest.raises(RedisUrlError, match="option that is not known"):
        parse("redis://cache?ssl_ca_certs=/etc/ca.pem")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://:s3cr3t@cache", "must begin with redis://"),
        ("s3cr3t", "must begin with redis://"),
        ("redis://:s3cr3t@", "must name a host"),
        ("redis://:s3cr3t@cache:0", "must have a port of 1 to 65535"),
        ("redis://:s3cr3t@cache:65536", "must have a port of 1 to 65535"),
        ("redis://alice:s3cr3t", "must have a port of 1 to 65535"),
        ("redis://:s3/cr3t@cache", "must name"),
        ("redis://:s3cr3t@cache/x", "must name its database by a number from 0 to 10000"),
        ("redis://:s3cr3t@cache/10001", "must name its database by a number from 0 to 10000"),
        ("redis://:s3cr3t@cache/1/2", "more than one database"),
        ("redis://:s3cr3t@cache/1?db=2", "more than one database"),
        ("redis://:s3cr3t@cache,other", "names several hosts"),
        ("redis://:s3cr3t@cache?s3cr3t=1", "option that is not known"),
        ("redis://:s3cr3t@cache?db=1&db=2", "gives the option db twice"),
        ("redis://:s3cr3t#more@cache", "write # in a password as %23"),
        ("redis://[:s3cr3t@cache", "is no URL"),
        ("redis+cluster://:s3cr3t@a/1", "a cluster has only database 0"),
        ("redis+sentinel://:s3cr3t@a", "must name the service"),
        ("rediss://:s3cr3t@a?ssl_cert_reqs=s3cr3t", "option ssl_cert_reqs"),
    ],
)
def test_what_cannot_be_used_is_one_line_without_the_password(url: str, fault: str) -> None:
    with pytest.raises(RedisUrlError) as caught:
        parse(url)
    assert fault in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=80), st.sampled_from(["", "redis://", "unix://", "redis+sentinel://", "rediss+cluster://"]))
def test_any_text_is_an_address_or_a_fault(text: str, scheme: str) -> None:
    line = ""
    try:
        line = parse(scheme + text).kind.value
    except RedisUrlError as error:
        line = str(error)
    assert line
    assert "\n" not in line
