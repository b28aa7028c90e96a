"""Calls by method, and what the core keeps of waits and decisions."""

from scheduler_server.rpc.server import DESCRIPTORS
from scheduler_server.telemetry.calls import METHODS, STATUSES, Calls
from tests.unit.assignment.rig import Rig


def test_every_method_of_the_contract_is_counted_and_no_other() -> None:
    ours = {f"{service.full_name}/{method.name}" for service in DESCRIPTORS for method in service.methods}
    assert set(METHODS) == ours
    assert len(METHODS) == len(ours)


def test_statuses_are_those_of_grpc() -> None:
    import grpc

    assert set(STATUSES) == {code.name for code in grpc.StatusCode}


def test_a_status_that_is_none_counts_as_unknown() -> None:
    method = Calls().by_method[METHODS[0]]
    method.ended("NOT_FOUND", 0.1)
    method.ended("MADE_UP", 0.2)
    assert {status: found.count for status, found in method.by_status.items()} == {
        "OK": 0,
        "NOT_FOUND": 1,
        "UNKNOWN": 1,
    }


def test_a_decision_is_timed_and_a_refusal_is_none() -> None:
    rig = Rig()
    rig.refuse()
    latencies = rig.core.placement.latencies
    assert latencies.count == 0
    rig.connect("a", slots=2)
    rig.watch.step_s = 0.001
    rig.place()
    assert latencies.count == 1
    assert latencies.total == 0.002, "from before the predictor was asked to the lease"
