"""Every list of AdminService refuses a page token that is not its own, and every TimeRange one that is reversed.

Which methods have one is read from the contract, so a new list is held to it too.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.rpc.paging import Position, scope, write_token
from tests.contract.history import Historian, between, historian, kept
from tests.contract.server import Problem, refused

_METHODS = api.DESCRIPTOR.services_by_name["AdminService"].methods


def _with(field: str) -> list[str]:
    return [method.name for method in _METHODS if field in method.input_type.fields_by_name]


PAGED = _with("page_token")
RANGED = _with("range")


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Historian]:
    async with historian(kept(tmp_path)) as found:
        yield found


async def _refused(asked: Historian, method: str, fields: dict[str, Any]) -> Problem:
    return await refused(asked.call(method, **fields))


def test_the_lists_are_found() -> None:
    assert {"ListWorkers", "ListDecisions", "ListAlerts", "ListAuditEntries", "GetAccuracy", "GetUtilization"} <= set(
        PAGED
    )
    assert {"ListDecisions", "ListAlerts", "ListAuditEntries", "GetAccuracy", "GetUtilization"} <= set(RANGED)


@pytest.mark.parametrize(
    ("method", "fields"),
    [(each, {}) for each in PAGED] + [(each, {"range": between(1.0)}) for each in PAGED if each in RANGED],
)
async def test_a_page_token_of_anybody_else_is_refused(asked: Historian, method: str, fields: dict[str, Any]) -> None:
    request = getattr(api, f"{method}Request")(**fields)
    incarnation = asked.server.core.incarnation
    first = Position(0, 0.0, "")
    another = next(each for each in PAGED if each != method)
    tokens = {
        "malformed": "x",
        "no base64": "naïve token",
        "far too long": "A" * 5_000,
        "of another list": write_token(scope(incarnation, getattr(api, f"{another}Request")()), first),
        "of the run before": write_token(scope("r0", request), first),
        "changed": write_token(scope(incarnation, request), first)[:-2],
    }
    for what, token in tokens.items():
        problem = await _refused(asked, method, {**fields, "page_token": token})
        assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), what
        assert "start again without one" in problem.message, what
        assert problem.metadata["field"] == "page_token", what


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (2.0, 2.0)])
@pytest.mark.parametrize("method", RANGED)
async def test_a_range_that_is_reversed_or_empty_is_refused(
    asked: Historian, method: str, start: float, end: float
) -> None:
    problem = await _refused(asked, method, {"range": between(start, end)})
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["range.end"])
    assert problem.descriptions == ["must be after range.start"]
