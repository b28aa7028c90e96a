"""`schedctl snapshot`: write down now what was learned."""

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.work import Command, Work


def _run(work: Work) -> int:
    answer: api.TakeSnapshotResponse = work.ask("TakeSnapshot", api.TakeSnapshotRequest(reason=work.given.reason))
    if work.json:
        work.paper.message(answer)
    else:
        what = f"{figures.size(answer.size_bytes)}, {figures.counted(answer.prediction_keys, 'prediction key')}"
        work.paper.line(f"written to {answer.location}: {what}, in {figures.span_in(answer, 'took')}")
    return 0


COMMAND = Command(options=options.add_reason, run=_run)
