"""The baseline: same stack, same requests parsed, same answers built field by field, and nothing between."""

import asyncio
import time
from itertools import count
from typing import Any

import grpc
import uvloop

from scheduler_api.v1 import decision_pb2, schedule_service_pb2, task_pb2, worker_pb2
from scheduler_server.rpc.collector import settle
from scheduler_server.rpc.health import Health
from scheduler_server.rpc.server import ServerSettings, add_services, make_server
from scheduler_server.telemetry.calls import Calls
from tests.performance import fleet
from tests.performance.processes import arguments, obey

_INCARNATION = "0badcafe"
_ACCEPTED = schedule_service_pb2.OUTCOME_RESULT_ACCEPTED
_TERMS = {
    "weighted": (("wait", 1.0, 0.4), ("load", 0.7431, 0.4), ("priority", 0.5, 0.2)),
    "earliest_finish": (("wait_s", 0.0, -1.0), ("duration_s", 0.3721, -1.0)),
}


class NoopCalls:
    """Answers what the server would, with whatever ids come next."""

    def __init__(self, scorer: str, workers: int) -> None:
        self._numbers = count(1)
        self._workers = workers
        self._scorer = scorer
        self._terms = _TERMS[scorer]
        terms = " + ".join(f"{weight:g} x {name} {value:.3f}" for name, value, weight in self._terms)
        self._reasoning = (
            f": best of {workers // 4} by {scorer} 0.797 = {terms}; 372 ms predicted by ema from 1234 of type=type-17"
        )

    def _fill(self, message: schedule_service_pb2.AssignResponse, task: task_pb2.Task) -> None:
        number = next(self._numbers)
        worker_id = fleet.worker_id(number * 7_919 % self._workers)
        message.state = task_pb2.TASK_STATE_PLACED
        decision = message.decision
        decision.decision_id = f"d-{_INCARNATION}-{number}"
        key = decision.task
        key.task_id = task.task_id
        key.attempt = 1
        key.tenant = task.tenant
        decision.lease_id = f"l-{_INCARNATION}-{number}"
        decision.worker_id = worker_id
        decision.predicted_wait_ms = 0.0
        decision.predicted_duration_ms = 372.125
        decision.score = 0.79724
        add = decision.terms.add
        for name, value, weight in self._terms:
            add(name=name, value=value, weight=weight)
        decision.source = decision_pb2.DECISION_SOURCE_PREDICTED
        decision.cause = decision_pb2.DECISION_CAUSE_BEST_SCORE
        decision.scorer = self._scorer
        decision.policy_revision = 1
        decision.server_incarnation = _INCARNATION
        decision.reasoning = worker_id + self._reasoning
        now = time.time()
        decided_at = decision.decided_at
        decided_at.seconds = int(now)
        decided_at.nanos = int(now % 1.0 * 1e9)
        prediction = decision.prediction
        prediction.point_ms = 372.125
        prediction.mean_ms = 372.125
        prediction.p50_ms = 372.125
        prediction.p90_ms = 512.75
        prediction.confidence = 0.71
        prediction.sample_count = 1_234
        prediction.key = f"type={task.task_type}"
        prediction.predictor = "ema"

    async def Assign(
        self, request: schedule_service_pb2.AssignRequest, context: Any
    ) -> schedule_service_pb2.AssignResponse:
        response = schedule_service_pb2.AssignResponse()
        self._fill(response, request.task)
        return response

    async def AssignBatch(
        self, request: schedule_service_pb2.AssignBatchRequest, context: Any
    ) -> schedule_service_pb2.AssignBatchResponse:
        response = schedule_service_pb2.AssignBatchResponse()
        add = response.results.add
        for each in request.requests:
            self._fill(add().response, each.task)
        return response

    async def ReportOutcome(
        self, request: schedule_service_pb2.ReportOutcomeRequest, context: Any
    ) -> schedule_service_pb2.ReportOutcomeResponse:
        response = schedule_service_pb2.ReportOutcomeResponse()
        add = response.results.add
        for _ in request.reports:
            add().result = _ACCEPTED
        return response


class NoopStreams:
    """Reads heartbeats and answers each with the directive that the server would send."""

    async def Schedule(self, requests: Any, context: Any) -> None:
        read, write, end = context.read, context.write, grpc.aio.EOF
        message = await read()
        if message is end:
            return
        directive = worker_pb2.WorkerDirective()
        welcome = directive.welcome
        welcome.worker_id = message.worker_id
        welcome.heartbeat_interval.seconds = 1
        welcome.server_incarnation = _INCARNATION
        welcome.protocol_version = 1
        welcome.epoch.boot_id = message.epoch.boot_id
        welcome.epoch.connection = message.epoch.connection
        welcome.unhealthy_after.seconds = 30
        await write(directive)
        while (message := await read()) is not end:
            directive = worker_pb2.WorkerDirective()
            ack = directive.ack
            ack.sequence = message.sequence
            ack.timestamp_ms = message.timestamp_ms
            await write(directive)


class NoopAdmin:
    """No administration at all."""

    others = ()


async def main(scorer: str, workers: int) -> None:
    """Serve until the parent goes."""
    server = make_server(ServerSettings())
    add_services(server, NoopCalls(scorer, workers), NoopStreams(), NoopAdmin(), Health(), Calls())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settle()  # as the real server does
    await obey({}, {"address": f"127.0.0.1:{port}"})


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(**arguments()))
