"""When a certificate is valid, read against a library that knows all of it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.access.der import CertificateUnreadable, validity
from tests.certificates import Authority

AUTHORITY = Authority()


@pytest.mark.parametrize("year", [1999, 2000, 2049, 2050, 2999])
def test_both_ways_of_writing_a_year(year: int) -> None:
    begins = datetime(1960, 1, 2, 3, 4, 5, tzinfo=UTC)
    ends = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    found = validity(AUTHORITY.issue("a", begins=begins, ends=ends).certificate)
    assert (found.begins, found.ends) == (begins.timestamp(), ends.timestamp())


@given(st.integers(0, 2_000_000_000), st.integers(1, 10**9))
def test_any_two_instants(begins: int, lasts: int) -> None:
    first = datetime.fromtimestamp(begins, UTC)
    last = first + timedelta(days=1, seconds=lasts)
    found = validity(AUTHORITY.issue("a", begins=first, ends=last).certificate)
    assert (found.begins, found.ends) == (begins, last.timestamp())


def test_the_first_of_a_chain_counts() -> None:
    leaf = AUTHORITY.issue("a", ends=datetime(2030, 1, 1, tzinfo=UTC)).certificate
    assert validity(leaf + AUTHORITY.pem).ends == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


WHOLE = AUTHORITY.issue("a").certificate


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4))
def test_damage_is_told_and_never_anything_else(at: int, damage: bytes) -> None:
    try:
        validity(WHOLE[:at] + damage + WHOLE[at + len(damage) :])
        validity(WHOLE[:at])
    except CertificateUnreadable:
        pass


def test_nothing_is_no_certificate() -> None:
    with pytest.raises(CertificateUnreadable, match="no certificate in PEM"):
        validity(b"")
