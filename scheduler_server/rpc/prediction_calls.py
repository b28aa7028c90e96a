"""AdminService's look into the predictor: what it has learned, by key, and forgetting it."""

import logging
from collections.abc import Callable
from typing import Any

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.assignment.effects import ForgetReply
from scheduler_server.assignment.events import Forget
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.predictor.forgetting import Forgets, ForgetsKeys
from scheduler_server.predictor.learned import Learned, Tells
from scheduler_server.rpc import accuracy, encode, paging
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.errors import NotSupported, Refused
from scheduler_server.rpc.paging import Page, Position, Turn
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.steering import reason_of
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.worker_query import similar
from scheduler_server.storage.snapshot_store import SnapshotError

_LOG = logging.getLogger(__name__)

_SORTS = ("key", "task_type", "sample_count", "point", "confidence", "updated_at", "within_25_percent")


class PredictionCalls:
    """Each method: check the message, look or order, encode the answer."""

    def __init__(self, shell: Shell, stores: Stores, refuse_when_draining: Callable[[], None]) -> None:
        self._shell = shell
        self._core = shell.core
        self._stores = stores
        self._refuse_when_draining = refuse_when_draining

    async def ListPredictions(
        self, request: admin_service_pb2.ListPredictionsRequest, context: Any
    ) -> admin_service_pb2.ListPredictionsResponse:
        """What was learned, by key."""
        checker = Checker()
        checker.text("task_type", request.task_type)
        checker.text("key_contains", request.key_contains)
        name, falling = _sort(checker, request.order_by)
        size = paging.size(checker, request.page_size)
        checker.done()
        core = self._core
        bound_to = paging.scope(core.incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        contains = request.key_contains.casefold()
        page: Page[Learned] = Page(size, after, backwards=falling and name in ("key", "task_type"))
        total = 0
        turn = Turn()
        predictor = core.predictor
        for learned in predictor.learned() if isinstance(predictor, Tells) else ():
            if turn.over():
                await turn.pause()
            prediction = learned.prediction
            if (
                (not request.task_type or learned.task_type == request.task_type)
                and prediction.sample_count >= request.min_samples
                and contains in prediction.key.casefold()
            ):
                total += 1
                page.offer(self._position(name, learned, falling=falling), learned)
        response = admin_service_pb2.ListPredictionsResponse(total_size=total, evicted_keys=predictor.evicted)

        def add(learned: Learned) -> int:
            message = response.predictions.add()
            self._fill(message, learned)
            return message.ByteSize()

        response.next_page_token = paging.next_token(bound_to, await page.write(turn, add))
        return response

    def _position(self, name: str, learned: Learned, *, falling: bool) -> Position:
        prediction, task_type = learned.prediction, learned.task_type
        if name == "key":
            return Position(0, 0.0, prediction.key)
        if name == "task_type":
            return Position(task_type is None, 0.0, f"{task_type}\0{prediction.key}")
        value: float | None = None
        if name == "sample_count":
            value = prediction.sample_count
        elif name == "point":
            value = prediction.point_ms
        elif name == "confidence":
            value = prediction.confidence
        elif name == "updated_at":
            value = learned.learned_at or None
        elif name == "within_25_percent" and task_type is not None:
            value = self._core.accuracy.of_type(task_type).within_25_percent
        if value is None:
            return Position(1, 0.0, prediction.key)
        return Position(0, -value if falling else value, prediction.key)

    def _fill(self, message: Any, learned: Learned) -> None:
        """Fill a PredictionEntry."""
        core, task_type = self._core, learned.task_type
        encode.prediction(message.prediction, learned.prediction)
        settings = core.settings.predictor
        default_ms = settings.default_ms
        if task_type is not None:
            message.task_type = task_type
            default_ms = settings.type_defaults_ms.get(task_type, default_ms)
            figures = core.accuracy.of_type(task_type)
            if figures.sample_count:
                accuracy.figures(message.accuracy, figures)
            message.untrusted = task_type in core.accuracy.untrusted
        learned_at, as_of = learned.learned_at, learned.prediction.as_of
        if as_of is not None:  # it was published by somebody else, by the monotonic clock
            now = self._shell.now()
            learned_at = now.wall - max(0.0, now.monotonic - as_of)
        if learned_at:
            encode.set_instant(message.updated_at, learned_at)
        message.drift_count = learned.drifts
        if learned.drifted_at:
            encode.set_instant(message.last_drift_at, learned.drifted_at)
        encode.set_span(message.default_duration, default_ms / 1_000.0)

    async def ForgetPredictions(
        self, request: admin_service_pb2.ForgetPredictionsRequest, context: Any
    ) -> admin_service_pb2.ForgetPredictionsResponse:
        """Forget what was learned."""
        checker = Checker()
        target = request.WhichOneof("target")
        if target is None:
            checker.fault("target", "is required: task_type, key, or all")
        elif target == "all" and not request.all:
            checker.fault("all", "must be true: name a type or a key to forget less")
        elif target != "all":
            checker.text(target, getattr(request, target), required=True)
        reason = reason_of(checker, request)
        checker.done()
        self._refuse_when_draining()
        predictor = self._core.predictor
        if not (isinstance(predictor, ForgetsKeys) if target == "key" else isinstance(predictor, Forgets)):
            raise NotSupported(target or "target", f"the predictor {predictor.name} cannot forget that")
        reply: ForgetReply = self._shell.handle(Forget(request.task_type, request.key, reason))
        if not reply.keys and target != "all":
            raise await self._unknown(target or "", getattr(request, target or ""))
        warning = await self._write_down()
        return admin_service_pb2.ForgetPredictionsResponse(
            forgotten_keys=reply.keys or 0, warnings=[warning] if warning else []
        )

    async def _unknown(self, target: str, wanted: str) -> Refused:
        predictor = self._core.predictor
        known = list(predictor.learned()) if isinstance(predictor, Tells) else []
        names = {each.prediction.key if target == "key" else each.task_type for each in known}
        alike = await similar([name for name in names if name], wanted)
        message = f"nothing was learned under the {target.replace('_', ' ')} {wanted!r}"
        about = [(target, wanted)]
        if alike:
            message += "; known are " + ", ".join(map(repr, alike))
            about.append(("similar", ", ".join(alike)))
        return Refused(Refusal(Reason.PREDICTION_UNKNOWN, message, tuple(about)))

    async def _write_down(self) -> str:
        """What is forgotten stays so after a restart: the snapshot before still has it. Why not, where it does not."""
        keeper = self._stores.snapshots
        if keeper is None:
            return ""
        try:
            await keeper.write()
        except SnapshotError as error:
            _LOG.warning("predictions were forgotten, and a restart would bring them back: %s", error)
            return f"a restart before the next snapshot that succeeds would bring them back: {error}"
        return ""


def _sort(checker: Checker, order_by: str) -> tuple[str, bool]:
    """The field to sort by, and whether it falls."""
    name, _, rest = (order_by or "key").partition(" ")
    if name not in _SORTS or rest not in ("", "desc"):
        checker.fault("order_by", f'must be one of {", ".join(_SORTS)}, with " desc" for falling order')
    return name, rest == "desc"
