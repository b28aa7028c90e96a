"""The access file: what a line grants, and how a wrong one is told."""

import pytest

from scheduler_server.access.accounts import LIMITS
from scheduler_server.access.grants import MAX_LINES, Grants, GrantsError, parse
from scheduler_server.access.patterns import PatternError, filled, pattern
from scheduler_server.access.roles import Role, allowed, wanted
from scheduler_server.access.tokens import PREFIX, digest, new_token, shown
from scheduler_server.rpc.access_guard import REASONS
from scheduler_server.telemetry import access_instruments

HASH = "sha256:" + "ab" * 32


def of(line: str, token: str) -> Grants:
    return parse(f"# people\n\ntoken {shown(token)} {line}  # and why\n")


def test_a_token_is_long_different_each_time_and_known_by_its_hash_alone() -> None:
    one, other = new_token(), new_token()
    assert one != other
    assert one.startswith(PREFIX)
    assert len(one) >= 43  # 256 bits in base64
    grants = of("identity=queue role=producer,viewer", one)
    found = grants.of_token(digest(one))
    assert found is not None
    assert (found.identity, found.roles) == ("queue", (Role.PRODUCER, Role.VIEWER))
    assert grants.of_token(digest(other)) is None
    assert grants.of_token(digest(one[:-1])) is None
    assert one not in repr(vars(grants))


def test_a_worker_without_workers_is_the_one_of_its_identity() -> None:
    token = new_token()
    found = of("identity=w role=worker", token).of_token(digest(token))
    assert found is not None
    assert [found.may_be(name) for name in ("w", "w2", "", "*")] == [True, False, False, False]
    assert not found.may_be_any


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        ("2027-06-30T00:00:00Z", 1_814_313_600),
        ("2027-06-30T02:00:00+02:00", 1_814_313_600),
        ("2027-06-30", 1_814_313_600),
    ],
)
def test_an_expiry_is_an_instant_or_a_day(expires: str, at: int) -> None:
    token = new_token()
    found = of(f"identity=w role=worker expires={expires}", token).of_token(digest(token))
    assert found is not None
    assert found.expires_at == at


@pytest.mark.parametrize(
    ("name", "identity", "workers"),
    [
        ("spiffe://a/worker/w7", "spiffe://a/worker/w7", ("w7",)),
        ("ops.a", "ops", ("ops",)),
        ("x.pool.a", "x.pool.a", ("x.pool.a",)),
    ],
)
def test_the_first_line_that_fits_a_certificate_counts(name: str, identity: str, workers: tuple[str, ...]) -> None:
    grants = parse(
        "certificate spiffe://a/worker/* role=worker workers={1}\n"
        "certificate ops.a identity=ops role=admin\n"
        "certificate *.a role=viewer\n"
    )
    found = grants.of_names([name])
    assert found is not None
    assert (found.identity, found.workers) == (identity, workers)


@pytest.mark.parametrize(
    "names", [(), ("",), ("spiffe://a/worker/w/7",), ("spiffe://b/worker/w",), ("spiffe://a/worker/*",)]
)
def test_other_names_are_granted_nothing(names: tuple[str, ...]) -> None:
    assert parse("certificate spiffe://a/worker/* role=worker workers={1}").of_names(names) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "must begin with token or certificate"),
        ("token", "must be followed by its hash"),
        ("token identity=a role=admin", "must be followed by its hash"),
        ("certificate role=admin", "must be followed by a name"),
        (f"token {HASH.upper()} identity=a role=admin", "64 digits of lower case"),
        ("token sst_secret identity=a role=admin", "64 digits of lower case"),
        (f"token {HASH} role=admin", "needs identity="),
        (f"token {HASH} identity=a", "role= is missing"),
        (f"token {HASH} identity=a role=root", "role= must be one or more of worker, producer, viewer, admin"),
        (f"token {HASH} identity=a role=admin role=viewer", "role= must be there once"),
        (f"token {HASH} identity=a role=admin colour=red", "role=, expires=, workers=, certificate= and nothing else"),
        (f"token {HASH} identity=a role=admin expires=tomorrow", "expires= must be an instant"),
        (f"token {HASH} identity=a role=admin expires=2027-06-30T00:00:00", "expires= needs its zone"),
        (f"token {HASH} identity=a role=worker workers=a***", "workers= has more than two stars"),
        (f"token {HASH} identity={'a' * 257} role=worker", "identity= must have at most 256"),
        ("certificate a role=worker workers={1}", "workers= has {1}, and the name before it 0 stars"),
        ("certificate a role=admin certificate=b", "may have identity=, role=, expires=, workers= and nothing else"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_by_its_number_and_without_what_may_be_secret(line: str, said: str) -> None:
    with pytest.raises(GrantsError) as raised:
        parse(f"# comment\n{line}\n")
    assert said in str(raised.value)
    assert str(raised.value).startswith("line 2: ")
    assert "sst_secret" not in str(raised.value)
    assert HASH[7:] not in str(raised.value)


def test_all_faults_are_told_up_to_twenty_and_one_token_is_granted_once() -> None:
    with pytest.raises(GrantsError, match=r"^30 faults, among them: line 1: .*line 20: [^;]*$"):
        parse("nonsense\n" * 30)
    with pytest.raises(GrantsError, match="line 2: a token with this hash is granted something above"):
        parse(f"token {HASH} identity=a role=admin\n" * 2)


def test_the_file_has_a_longest() -> None:
    assert len(parse("\n" * MAX_LINES)) == 0
    with pytest.raises(GrantsError, match="100,001 lines; the limit is 100,000"):
        parse("\n" * (MAX_LINES + 1))


@pytest.mark.parametrize(
    ("text", "fits", "fits_not"),
    [
        ("*", ["a", "a/b", "é"], []),
        ("a-*", ["a-", "a-b"], ["a-b/c", "ba-", "A-b"]),
        ("a/**", ["a/b/c", "a/"], ["a", "b/a/"]),
        ("a.b", ["a.b"], ["axb"]),
        ("*-*", ["a-b", "-"], ["ab"]),
    ],
)
def test_stars(text: str, fits: list[str], fits_not: list[str]) -> None:
    assert [each for each in fits if not pattern(text).fullmatch(each)] == []
    assert [each for each in fits_not if pattern(text).fullmatch(each)] == []


@pytest.mark.parametrize("text", ["", "a" * 513, "a\nb", "***"])
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(PatternError):
        pattern(text)


def test_places_are_filled_and_never_with_stars() -> None:
    assert filled("{2}-{1}", ("a", "b")) == "b-a"
    for text, found in (("{2}", ("a",)), ("{1}", ("a*",))):
        with pytest.raises(PatternError):
            filled(text, found)


def test_the_least_role_that_allows_is_told() -> None:
    get_task = "scheduler_api.v1.ScheduleService/GetTask"
    assert allowed((Role.ADMIN, Role.VIEWER), get_task) is Role.VIEWER
    assert allowed((Role.ADMIN,), get_task) is Role.ADMIN
    assert allowed((Role.WORKER,), get_task) is None
    assert allowed((Role.VIEWER,), "no.such/Method") is None
    assert wanted(get_task) == (Role.PRODUCER, Role.VIEWER, Role.ADMIN)


def test_the_labels_of_the_metrics_are_those_that_are_used() -> None:
    assert access_instruments.LIMITS == LIMITS
    assert tuple(reason.value.lower() for reason in REASONS) == access_instruments.REASONS
