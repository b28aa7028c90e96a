"""The Python enums are the contract's."""

from enum import IntEnum

import pytest
from google.protobuf.descriptor import EnumDescriptor

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2
from scheduler_server.client import enums

PAIRS: list[tuple[type[IntEnum], EnumDescriptor]] = [
    (enums.Delivery, task_pb2.Delivery.DESCRIPTOR),
    (enums.LossPolicy, task_pb2.LossPolicy.DESCRIPTOR),
    (enums.OutcomeStatus, task_pb2.OutcomeStatus.DESCRIPTOR),
    (enums.OutcomeResult, schedule_service_pb2.OutcomeResult.DESCRIPTOR),
    (enums.TaskState, task_pb2.TaskState.DESCRIPTOR),
    (enums.BlockingReason, task_pb2.BlockingReason.DESCRIPTOR),
    (enums.DecisionSource, decision_pb2.DecisionSource.DESCRIPTOR),
    (enums.DecisionCause, decision_pb2.DecisionCause.DESCRIPTOR),
    (enums.RejectionReason, decision_pb2.RejectionReason.DESCRIPTOR),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
def test_names_and_numbers_are_those_of_the_contract(ours: type[IntEnum], theirs: EnumDescriptor) -> None:
    zero = theirs.values_by_number[0].name
    prefix = zero.removesuffix("UNSPECIFIED")
    assert {member.name: member.value for member in ours} == {
        value.name.removeprefix(prefix): value.number for value in theirs.values
    }


def test_what_is_no_number_is_no_member() -> None:
    with pytest.raises(ValueError, match="REPORT"):
        enums.LossPolicy("REPORT")  # type: ignore[arg-type]  # that is what it is about
