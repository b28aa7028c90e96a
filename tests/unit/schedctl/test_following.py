"""`events -f` over failures: what is taken up again, and what ends it."""

import argparse
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl.commands.events import _follow
from scheduler_server.schedctl.contexts import chosen
from scheduler_server.schedctl.paper import Paper
from scheduler_server.schedctl.work import Surroundings, Work

AWAY = SchedulerError(StatusCode.UNAVAILABLE, message="it is away")
EXPIRED = SchedulerError(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", "it is gone")


class House:
    """A command whose watches go as a test says: each is what comes, and the error that ends it."""

    def __init__(self, *watches: list[Any], resume: str = "") -> None:
        self.tokens: list[str] = []
        self._watches = iter(watches)
        self._notes = io.StringIO()
        around = Surroundings(stdin=io.StringIO(), stdout=io.StringIO(), stderr=self._notes, environment={})
        given = argparse.Namespace(resume=resume)
        self._work = Work(given, Paper(around.stdout, wide=None, colour=False), around)
        self._work._place = chosen({"server": "127.0.0.1:1"}, {})
        self._work._connection = SimpleNamespace(stream=self._stream)  # type: ignore[assignment] # all that is used
        self._request = api.WatchEventsRequest(resume_token=resume)

    def _stream(self, _method: str, request: api.WatchEventsRequest) -> Iterator[api.WatchEventsResponse]:
        self.tokens.append(request.resume_token)
        for each in next(self._watches):
            if isinstance(each, BaseException):
                raise each
            yield api.WatchEventsResponse(resume_token=each)

    def follow(self) -> str:
        """Until what cannot get better, or Ctrl-C; what was noted."""
        with pytest.raises((SchedulerError, KeyboardInterrupt)) as ended:
            _follow(self._work, self._request, lambda _seconds: None)
        self.ended_by = ended.value
        return self._notes.getvalue()


def test_a_watch_that_began_where_another_one_stopped_goes_on_over_a_restart_too() -> None:
    house = House(["1-7", AWAY], [EXPIRED], ["2-1", KeyboardInterrupt()], resume="1-7")
    assert "events are missing here" in house.follow()
    assert isinstance(house.ended_by, KeyboardInterrupt)
    assert house.tokens == ["1-7", "1-7", ""]


def test_a_server_that_goes_away_once_more_right_after_its_restart_is_waited_for_too() -> None:
    house = House(["1-7", AWAY], [EXPIRED], [AWAY], ["2-1", KeyboardInterrupt()])
    house.follow()
    assert isinstance(house.ended_by, KeyboardInterrupt)
    assert house.tokens == ["", "1-7", "", ""]


@pytest.mark.parametrize("error", [AWAY, EXPIRED])
def test_what_fails_before_anything_came_ends_it(error: SchedulerError) -> None:
    house = House([error], resume="1-7")
    assert "missing" not in house.follow()
    assert house.ended_by is error
