"""How does a queue service say how tasks ended? The call ReportOutcome, for one and for many."""

from collections.abc import Iterable, Mapping

from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_api.v1 import task_pb2
from scheduler_server.client.call import Call, deadline_s, same_length
from scheduler_server.client.enums import OutcomeResult, OutcomeStatus
from scheduler_server.client.errors import SchedulerError
from scheduler_server.client.outcome import Outcome, OutcomeReport
from scheduler_server.client.spans import Span, as_timedelta
from scheduler_server.client.wire_errors import error_from_item

AnyOutcome = Outcome | task_pb2.Outcome
AnyReport = OutcomeReport | api.OutcomeReport


def outcome_of(
    status: OutcomeStatus | AnyOutcome, duration: Span | None, error_message: str, error_kind: str
) -> AnyOutcome:
    """What `report_outcome` was given, as one outcome."""
    if isinstance(status, OutcomeStatus):
        return Outcome(
            status=status,
            duration=None if duration is None else as_timedelta(duration),
            error_message=error_message,
            error_kind=error_kind,
        )
    if duration is not None or error_message or error_kind:
        raise ValueError("duration and error belong into the Outcome when one is given")
    return status


def report_outcomes(
    reports: Iterable[AnyReport], *, timeout: Span | None
) -> Call[list[OutcomeResult | SchedulerError]]:
    """How tasks ended."""
    messages = [report.to_proto() if isinstance(report, OutcomeReport) else report for report in reports]

    def read(response: api.ReportOutcomeResponse) -> list[OutcomeResult | SchedulerError]:
        same_length(messages, response.results)
        return [
            _result_or_error(result, {"lease_id": message.lease_id})
            for message, result in zip(messages, response.results, strict=True)
        ]

    return Call(
        method="ReportOutcome",
        request=api.ReportOutcomeRequest(reports=messages),
        read=read,
        deadline_s=deadline_s("ReportOutcome", timeout),
        known={},
    )


def report_outcome(lease_id: str, outcome: AnyOutcome, *, timeout: Span | None) -> Call[OutcomeResult]:
    """How one task ended: a batch of one, whose error is the call's."""
    message = outcome.to_proto() if isinstance(outcome, Outcome) else outcome
    batch = report_outcomes([api.OutcomeReport(lease_id=lease_id, outcome=message)], timeout=timeout)

    def read(response: api.ReportOutcomeResponse) -> OutcomeResult:
        (result,) = batch.read(response)
        if isinstance(result, SchedulerError):
            raise result
        return result

    return Call(
        method=batch.method,
        request=batch.request,
        read=read,
        deadline_s=batch.deadline_s,
        known={"lease_id": lease_id},
    )


def _result_or_error(result: api.OutcomeReportResult, known: Mapping[str, str]) -> OutcomeResult | SchedulerError:
    if result.HasField("error") or result.result == api.OUTCOME_RESULT_REFUSED:
        return error_from_item(result.error, known)
    return OutcomeResult(result.result)
