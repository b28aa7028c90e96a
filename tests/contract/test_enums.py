"""Our enums have the numbers of the contract's: they are sent as they are."""

from enum import IntEnum
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2, decision_pb2, schedule_service_pb2, task_pb2, worker_pb2
from scheduler_server.alerts.rule import AlertState, Severity
from scheduler_server.dispatch.entries import DeadReason
from scheduler_server.fallback.breaker import BreakerState
from scheduler_server.model.decision import Cause, Rejection, Source
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeResult, OutcomeStatus
from scheduler_server.model.task import BlockingReason, Delivery, LossPolicy, TaskState
from scheduler_server.model.worker import Accounting, GoodbyeReason, Health, Intent, ReportKind, VerdictKind

# Ours, theirs, the prefix of their names, and ours that they have no name for.
PAIRS: list[tuple[type[IntEnum], Any, str, set[str]]] = [
    (OutcomeStatus, task_pb2.OutcomeStatus, "OUTCOME_STATUS_", set()),
    (TaskState, task_pb2.TaskState, "TASK_STATE_", set()),
    (LossPolicy, task_pb2.LossPolicy, "LOSS_POLICY_", set()),
    (Delivery, task_pb2.Delivery, "DELIVERY_", set()),
    (BlockingReason, task_pb2.BlockingReason, "BLOCKING_REASON_", set()),
    (Source, decision_pb2.DecisionSource, "DECISION_SOURCE_", set()),
    (Cause, decision_pb2.DecisionCause, "DECISION_CAUSE_", set()),
    (Rejection, decision_pb2.RejectionReason, "REJECTION_REASON_", {"CANDIDATE"}),
    (Health, admin_service_pb2.WorkerHealth, "WORKER_HEALTH_", set()),
    (Accounting, admin_service_pb2.WorkerAccounting, "WORKER_ACCOUNTING_", set()),
    (FleetEventKind, admin_service_pb2.EventKind, "EVENT_KIND_", set()),
    (DeadReason, admin_service_pb2.DeadLetterReason, "DEAD_LETTER_REASON_", set()),
    (AlertState, admin_service_pb2.AlertState, "ALERT_STATE_", set()),
    (Severity, admin_service_pb2.Severity, "SEVERITY_", set()),
    (BreakerState, admin_service_pb2.BreakerState, "BREAKER_STATE_", set()),
    (Intent, worker_pb2.WorkerIntent, "WORKER_INTENT_", set()),
    (VerdictKind, worker_pb2.LeaseVerdictKind, "LEASE_VERDICT_KIND_", set()),
    (GoodbyeReason, worker_pb2.GoodbyeReason, "GOODBYE_REASON_", set()),
    (OutcomeResult, schedule_service_pb2.OutcomeResult, "OUTCOME_RESULT_", set()),
]
WHOLE = [pair for pair in PAIRS if pair[0] is not FleetEventKind]


@pytest.mark.parametrize(("ours", "theirs", "prefix", "alone"), PAIRS, ids=[pair[0].__name__ for pair in PAIRS])
def test_each_of_our_names_has_the_contracts_number(
    ours: type[IntEnum], theirs: Any, prefix: str, alone: set[str]
) -> None:
    numbers = dict(theirs.items())
    assert {name: numbers.get(prefix + name) for name in ours.__members__ if name not in alone} == {
        name: each.value for name, each in ours.__members__.items() if name not in alone
    }


@pytest.mark.parametrize(("ours", "theirs", "prefix", "alone"), WHOLE, ids=[pair[0].__name__ for pair in WHOLE])
def test_the_contract_has_no_name_that_we_do_not_know(
    ours: type[IntEnum], theirs: Any, prefix: str, alone: set[str]
) -> None:
    named = {name.removeprefix(prefix) for name, number in theirs.items() if number}
    assert named == set(ours.__members__) - alone


def test_candidate_is_the_contracts_absent_rejection() -> None:
    assert Rejection.CANDIDATE.value == int(decision_pb2.REJECTION_REASON_UNSPECIFIED)


def test_a_lease_reports_kind_is_its_field_number() -> None:
    fields = worker_pb2.LeaseReport.DESCRIPTOR.fields_by_name
    assert {kind.name.lower(): kind.value for kind in ReportKind} == {
        kind.name.lower(): fields[kind.name.lower()].number for kind in ReportKind
    }
