"""Every method x every role x every kind of credential, generated from the descriptors, against a real server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from scheduler_server.access.roles import OPEN, ROLES, Role
from tests.certificates import Authority, Pair
from tests.contract.access_house import (
    CONTRACT,
    GUARDED,
    NEVER_LET_IN,
    REFLECTION,
    TRANSPORT,
    Answer,
    House,
    ask,
    bearer,
    expected,
    house,
    token,
)
from tests.contract.server import Running

ROLE_SETS = (*((role,) for role in Role), (Role.WORKER, Role.VIEWER), (Role.PRODUCER, Role.VIEWER))


def test_every_method_has_a_role_and_the_table_names_nothing_else() -> None:
    assert set(ROLES) == set(GUARDED)
    assert len(TRANSPORT) == 7
    health = {
        f"grpc.health.v1.Health/{name}" for name in health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name
    }
    assert health == OPEN
    assert len(CONTRACT) == 58


def test_reflection_and_channelz_are_for_admins_alone() -> None:
    for method, roles in ROLES.items():
        if "reflection" in method or "channelz" in method:
            assert not roles


class Mutual(NamedTuple):
    """A server that wants certificates, and a certificate for every set of roles."""

    house: House
    certificates: dict[tuple[Role, ...], Pair]


def name_of(roles: tuple[Role, ...]) -> str:
    return f"spiffe://tests/{'-'.join(roles)}"


@pytest.fixture
async def by_token(tmp_path: Path) -> AsyncIterator[tuple[House, dict[tuple[Role, ...], str]]]:
    tokens = {roles: token("-".join(roles), *roles) for roles in ROLE_SETS}
    async with house(tmp_path, *(each.line for each in tokens.values())) as made:
        yield made, {roles: each.text for roles, each in tokens.items()}


@pytest.fixture
async def mutual(tmp_path: Path) -> AsyncIterator[Mutual]:
    authority = Authority()
    lines = [f"certificate {name_of(roles)} role={','.join(roles)}" for roles in ROLE_SETS]
    certificates = {roles: authority.issue(name_of(roles)) for roles in ROLE_SETS}
    async with house(tmp_path, *lines, client_certificates=True, authority=authority) as made:
        yield Mutual(made, certificates)


def check(method: str, roles: tuple[Role, ...], answer: Answer) -> None:
    where = f"{method} as {roles}"
    if expected(method, roles):
        assert answer.code not in NEVER_LET_IN, (where, answer)
    else:
        assert answer == ("PERMISSION_DENIED", "ROLE_INSUFFICIENT"), where


async def test_tokens(by_token: tuple[House, dict[tuple[Role, ...], str]]) -> None:
    made, tokens = by_token
    channel = await made.channel(None)
    for roles in ROLE_SETS:
        answers = await asyncio.gather(*(ask(channel, method, bearer(tokens[roles])) for method in GUARDED))
        for method, answer in zip(GUARDED, answers, strict=True):
            check(method, roles, answer)


async def test_certificates(mutual: Mutual) -> None:
    for roles in ROLE_SETS:
        channel = await mutual.house.trusting(mutual.certificates[roles])
        answers = await asyncio.gather(*(ask(channel, method) for method in GUARDED))
        for method, answer in zip(GUARDED, answers, strict=True):
            check(method, roles, answer)


async def test_a_token_over_a_certificate_counts_in_its_place(mutual: Mutual) -> None:
    viewer = token("v", Role.VIEWER)
    lines = mutual.house.access_file.read_text().splitlines()
    mutual.house.grant(*lines, viewer.line)
    await mutual.house.look()
    channel = await mutual.house.trusting(mutual.certificates[(Role.ADMIN,)])
    answers = await asyncio.gather(*(ask(channel, method, viewer.metadata) for method in GUARDED))
    for method, answer in zip(GUARDED, answers, strict=True):
        check(method, (Role.VIEWER,), answer)


NONE: tuple[tuple[str, str], ...] = ()


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (NONE, "CREDENTIAL_MISSING"),
        (bearer("sst_never-granted"), "CREDENTIAL_UNKNOWN"),
        (bearer(""), "CREDENTIAL_UNKNOWN"),
        (bearer("x" * 513), "CREDENTIAL_UNKNOWN"),
        ((("authorization", "Basic YWRtaW46YWRtaW4="),), "CREDENTIAL_UNKNOWN"),
        ((*bearer("a"), *bearer("b")), "CREDENTIAL_UNKNOWN"),
    ],
)
async def test_without_a_good_token_nothing_is_answered(
    by_token: tuple[House, dict[tuple[Role, ...], str]], metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    made, _ = by_token
    channel = await made.channel(None)
    answers = await asyncio.gather(*(ask(channel, method, metadata) for method in GUARDED))
    assert set(answers) == {Answer("UNAUTHENTICATED", reason)}


async def test_health_is_for_everybody(by_token: tuple[House, dict[tuple[Role, ...], str]]) -> None:
    made, _ = by_token
    stub: Any = health_pb2_grpc.HealthStub(await made.channel(None))
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_method_that_is_not_there_is_unimplemented_for_everybody(
    by_token: tuple[House, dict[tuple[Role, ...], str]],
) -> None:
    made, tokens = by_token
    channel = await made.channel(None)
    for metadata in (NONE, bearer(tokens[(Role.ADMIN,)])):
        assert (await ask(channel, "scheduler_api.v1.AdminService/NoSuch", metadata)).code == "UNIMPLEMENTED"


async def test_without_access_control_everybody_may_do_everything(live: Running) -> None:
    for method in GUARDED:
        assert (await ask(live.channel, method)).code not in NEVER_LET_IN, method
    assert live.app.access.guard is None


# ---------------------------------------------------------------------- impersonation


async def all_refused(made: House, channel: grpc.aio.Channel, wanted: Answer, token_text: str = "") -> None:
    metadata = bearer(token_text) if token_text else NONE
    answers = await asyncio.gather(*(ask(channel, method, metadata) for method in GUARDED))
    assert dict(zip(GUARDED, answers, strict=True)) == dict.fromkeys(GUARDED, wanted)


UNAVAILABLE = Answer("UNAVAILABLE", "")


async def test_a_certificate_of_another_authority_does_not_connect(mutual: Mutual) -> None:
    stranger = Authority().issue(name_of((Role.ADMIN,)))
    await all_refused(mutual.house, await mutual.house.trusting(stranger), UNAVAILABLE)


async def test_no_certificate_does_not_connect(mutual: Mutual) -> None:
    await all_refused(mutual.house, await mutual.house.trusting(), UNAVAILABLE)


async def test_plaintext_does_not_connect(mutual: Mutual) -> None:
    await all_refused(mutual.house, await mutual.house.channel(None), UNAVAILABLE)


async def test_an_expired_certificate_does_not_connect(mutual: Mutual) -> None:
    old = mutual.house.authority.issue(name_of((Role.ADMIN,)), ends=datetime(2021, 1, 1, tzinfo=UTC))
    await all_refused(mutual.house, await mutual.house.trusting(old), UNAVAILABLE)


async def test_a_certificate_that_expires_while_connected_is_refused(mutual: Mutual) -> None:
    ends = datetime(2040, 1, 1, tzinfo=UTC)
    channel = await mutual.house.trusting(mutual.house.authority.issue(name_of((Role.ADMIN,)), ends=ends))
    assert (await ask(channel, GUARDED[1])).code not in NEVER_LET_IN
    mutual.house.server.clock.wall = ends.timestamp()
    await all_refused(mutual.house, channel, Answer("UNAUTHENTICATED", "CREDENTIAL_EXPIRED"))


@pytest.mark.parametrize("names", [("spiffe://tests/nobody",), ("tests",), ("spiffe://tests/admin/x",)])
async def test_a_certificate_that_no_line_names_has_no_role(mutual: Mutual, names: tuple[str, ...]) -> None:
    channel = await mutual.house.trusting(mutual.house.authority.issue(*names))
    await all_refused(mutual.house, channel, Answer("PERMISSION_DENIED", "ROLE_INSUFFICIENT"))


@pytest.mark.parametrize("names", [(), (name_of((Role.ADMIN,)), "spiffe://tests/other")])
async def test_a_certificate_without_one_clear_name_proves_nothing(mutual: Mutual, names: tuple[str, ...]) -> None:
    channel = await mutual.house.trusting(mutual.house.authority.issue(*names))
    await all_refused(mutual.house, channel, Answer("UNAUTHENTICATED", "CREDENTIAL_MISSING"))


async def test_a_common_name_is_no_name(mutual: Mutual) -> None:
    mutual.house.grant("certificate holder role=admin")  # the common name of every certificate here
    await mutual.house.look()
    channel = await mutual.house.trusting(mutual.house.authority.issue("somebody.example"))
    await all_refused(mutual.house, channel, Answer("PERMISSION_DENIED", "ROLE_INSUFFICIENT"))


async def test_a_certificate_whose_line_was_taken_out_has_no_role_on_the_connection_that_it_has(mutual: Mutual) -> None:
    channel = await mutual.house.trusting(mutual.certificates[(Role.ADMIN,)])
    assert (await ask(channel, GUARDED[1])).code not in NEVER_LET_IN
    mutual.house.grant()
    await mutual.house.look()
    await all_refused(mutual.house, channel, Answer("PERMISSION_DENIED", "ROLE_INSUFFICIENT"))


async def test_a_revoked_token(by_token: tuple[House, dict[tuple[Role, ...], str]]) -> None:
    made, tokens = by_token
    channel = await made.channel(None)
    assert (await ask(channel, GUARDED[1], bearer(tokens[(Role.ADMIN,)]))).code not in NEVER_LET_IN
    made.grant()
    await made.look()
    await all_refused(made, channel, Answer("UNAUTHENTICATED", "CREDENTIAL_UNKNOWN"), tokens[(Role.ADMIN,)])


async def test_an_expired_token(tmp_path: Path) -> None:
    admin = token("a", Role.ADMIN, rest="expires=2027-03-01T00:00:00Z")
    async with house(tmp_path, admin.line) as made:
        channel = await made.channel(None)
        instant = datetime(2027, 3, 1, tzinfo=UTC).timestamp()
        made.server.clock.wall = instant - 0.001
        assert (await ask(channel, GUARDED[1], admin.metadata)).code not in NEVER_LET_IN
        made.server.clock.wall = instant
        await all_refused(made, channel, Answer("UNAUTHENTICATED", "CREDENTIAL_EXPIRED"), admin.text)


async def test_a_stolen_token_that_is_bound_to_a_certificate_is_worth_nothing(mutual: Mutual) -> None:
    bound = token("a", Role.ADMIN, rest="certificate=spiffe://tests/adm*")
    lines = mutual.house.access_file.read_text().splitlines()
    mutual.house.grant(*lines, bound.line)
    await mutual.house.look()
    owner = await mutual.house.trusting(mutual.certificates[(Role.ADMIN,)])
    assert (await ask(owner, GUARDED[1], bound.metadata)).code not in NEVER_LET_IN
    thief = await mutual.house.trusting(mutual.certificates[(Role.VIEWER,)])
    await all_refused(mutual.house, thief, Answer("UNAUTHENTICATED", "CREDENTIAL_UNKNOWN"), bound.text)


def test_the_kinds_of_methods_are_all_there() -> None:
    assert {*REFLECTION, *TRANSPORT} < set(GUARDED)
    assert {"scheduler_api.v1.ScheduleService/Schedule", "scheduler_api.v1.AdminService/WatchEvents"} < set(GUARDED)
