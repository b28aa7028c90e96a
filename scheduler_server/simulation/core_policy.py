"""The real core as a policy: what a server would decide, by the very code that it decides by.

The simulator stands in for the shell, the workers and the queue service: it hands the core events and carries its
effects out. Tasks are enqueued, delivered by the caller, and their outcomes reported by the queue service when they
end; machines say in heartbeats what they are busy with.
"""

from dataclasses import replace
from math import inf

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.effects import Goodbye, Granted, ProbeSent, Reply
from scheduler_server.assignment.events import Connect, Disconnect, Event, Heartbeat, ReportOutcome, Submit, Tick
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Source
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.worker import Epoch, Registration, RunningLease, Sample
from scheduler_server.predictor import Predictor
from scheduler_server.scorer import Scorer
from scheduler_server.simulation.engine import BEGIN_S, MOST_UNFINISHED, WALL_S, Beat, World, beat_of
from scheduler_server.simulation.fleet import Job, Machine
from scheduler_server.simulation.oracle import Oracle

STAGED = 100
"""Immediate binding: tasks that may wait on one worker. What finds all of them so full waits in the server."""

_KEPT_S = 604_800.0

# A worker whose slots are all busy says cpu 0.9 and memory 0.7: busy, and not so much as to count as degraded.
_CPU_BUSY = 0.9
_MEMORY_IDLE, _MEMORY_BUSY = 0.2, 0.5

_NEAR = 0.25
_SUCCEEDED, _FAILED = OutcomeStatus.SUCCEEDED, OutcomeStatus.FAILED
_FAILED_OUTCOME = Outcome(_FAILED, None, "its machine failed", "machine")


def simulated(settings: CoreSettings, heartbeat_s: float) -> CoreSettings:
    """The same settings without bounds that belong to a server's memory and not to its decisions.

    Where heartbeats are rarer than the settings allow, spans of silence are longer by as much: otherwise every worker
    would be silent between two beats.
    """
    health = settings.health
    slower = max(1.0, heartbeat_s / health.heartbeat_max_s)
    return replace(
        settings,
        health=replace(
            health,
            heartbeat_max_s=health.heartbeat_max_s * slower,
            healthy_within_s=health.healthy_within_s * slower,
            unhealthy_after_s=health.unhealthy_after_s * slower,
            remove_after_s=health.remove_after_s * slower,
            lost_after_s=None if health.lost_after_s is None else health.lost_after_s * slower,
        ),
        worker=replace(
            settings.worker,
            probe_within_s=max(settings.worker.probe_within_s, 3.0 * heartbeat_s),
            reconcile_grace_s=max(settings.worker.reconcile_grace_s, 3.0 * heartbeat_s),
        ),
        # What has ended is kept by number and not by age: heartbeats may be late by days.
        assignment=replace(
            settings.assignment,
            ended_kept=min(settings.assignment.ended_kept, 2_000),
            ended_kept_s=_KEPT_S,
            explain_share=0,
        ),
        queue=replace(settings.queue, max_length=2 * MOST_UNFINISHED, tenant_share=1.0),
    )


class CorePolicy:
    """A `Scheduler` in a `World`. `at_once`: tasks are staged on workers as they come (immediate binding).

    `lists`: machines tell in heartbeats which leases they hold, as workers of the SDK do; otherwise only how many, as
    any worker can. `judged` counts predictions that tasks were placed by, `near` of them were within a quarter.
    """

    listens = True

    def __init__(
        self,
        world: World,
        settings: CoreSettings,
        predictor: Predictor,
        scorer: Scorer,
        *,
        at_once: bool = False,
        lists: bool = True,
        by_user: bool = False,
    ) -> None:
        self._world = world
        self._settings = simulated(settings, world.plan.heartbeat_s)
        self._rest_s = world.plan.heartbeat_s
        self._lists = lists
        self._by_user = by_user
        self._prefetch = STAGED if at_once else 0
        self._truth = predictor.truth_ms if isinstance(predictor, Oracle) else None
        now = Now(BEGIN_S, WALL_S + BEGIN_S)
        # A stopwatch that stands still: nothing is ever over budget, and the same seed decides the same.
        self.core = Scheduler(self._settings, predictor, scorer, _stands_still, "simulated", now)
        self._machines = {machine.name: machine for machine in world.machines}
        self._jobs: dict[str, Job] = {}
        self._sessions = 0
        self._session_of: dict[int, int] = {}  # by machine; 0: none
        self._index_of: dict[int, int] = {}  # the machine of each session
        self._probes: dict[int, tuple[str, float]] = {}  # the last that each machine was sent, and when
        self.due_at = inf
        self.judged = self.near = 0

    # ------------------------------------------------------------------ the world tells

    def begin(self, now: float) -> None:
        """Every machine connects."""
        for machine in self._world.machines:
            self._connect(now, machine)

    def arrive(self, now: float, job: Job) -> None:
        """Enqueue it."""
        name = str(job.number)
        task = job.task
        tenant = task.user if self._by_user else task.tenant
        required = (job.wants,) if job.wants else ()
        self._jobs[name] = job
        if self._truth is not None:
            self._truth[name] = job.work_s * 1_000.0
        task = task._replace(tenant=tenant, task_id=name, attempt=job.attempt, required=required)
        self._do(now, Submit(task, enqueue=True))

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        """The queue service reports it."""
        outcome = Outcome(_SUCCEEDED, (now - job.started) * 1_000.0)
        name = str(job.number)
        del self._jobs[name]
        self._do(now, ReportOutcome(job.lease, outcome))
        if self._truth is not None:
            del self._truth[name]

    def down(self, now: float, machine: Machine, lost: list[Job]) -> None:
        """Its stream breaks, and the queue service learns what was on it."""
        self._do(now, Disconnect(self._session_of[machine.index]))
        for job in lost:
            self._do(now, ReportOutcome(job.lease, _FAILED_OUTCOME))

    def opened(self, now: float, machine: Machine) -> None:
        """A machine that failed connects anew; what else changes on one is heard in its next heartbeat."""
        if machine.up and not self._session_of[machine.index]:
            self._connect(now, machine)

    def heard(self, now: float, beat: Beat) -> None:
        """Hand the heartbeat over."""
        session = self._session_of[beat.machine.index]
        if session:
            self._do(now, Heartbeat(session, self._sample(beat)))

    def tick(self, now: float) -> None:
        """Nothing but the time."""
        self._do(now, _TICK)

    @property
    def fallback_share(self) -> float | None:
        """Share of the decisions that were not made by prediction."""
        by_source = self.core.placement.by_source
        made = sum(by_source.values())
        fallen = sum(count for (source, _), count in by_source.items() if source is Source.FALLBACK)
        return fallen / made if made else None

    # ------------------------------------------------------------------ the core is told, and obeyed

    def _do(self, now: float, event: Event) -> None:
        core = self.core
        effects = core.handle(Now(now, WALL_S + now), event)
        if type(event) is Disconnect:
            self._session_of[self._index_of.pop(event.session)] = 0
        for effect in effects:
            if type(effect) is Granted:
                self._granted(now, effect)
            elif type(effect) is Reply and effect.refusal is not None:
                self._refused(event)
            elif type(effect) is Goodbye:
                self._sent_away(now, effect)
            elif type(effect) is ProbeSent:
                self._probes[self._index_of.get(effect.session, -1)] = (effect.nonce, now)
        due = core.next_deadline()
        # What is due at once is done at once. The sweep of every second can wait for the next heartbeat: it makes
        # events prompt and no decision better, and a year has many seconds.
        self.due_at = due if due <= now else max(due, now + self._rest_s)

    def _granted(self, now: float, granted: Granted) -> None:
        record = granted.record
        job = self._jobs[record.task.task_id]
        job.lease = record.lease_id
        decision = record.decision
        prediction = decision.prediction
        if prediction is not None:
            self.judged += 1
            if abs(prediction.point_ms - job.work_s * 1_000.0) <= _NEAR * job.work_s * 1_000.0:
                self.near += 1
        told = record.expected
        if told is not None and told.start_p50 is not None and told.start_p90 is not None:
            job.told = (told.start_p50 - WALL_S, told.start_p90 - WALL_S)
        elif decision.wait_ms:
            job.told = (now + decision.wait_ms / 1_000.0, inf)
        self._world.give(now, job, self._machines[record.worker_id])

    def _sent_away(self, now: float, goodbye: Goodbye) -> None:
        """The server ends a session: the machine comes back, as the SDK's workers do."""
        index = self._index_of.pop(goodbye.session, None)
        if index is not None and self._session_of[index] == goodbye.session:
            self._connect(now, self._world.machines[index])

    def _refused(self, event: Event) -> None:
        if type(event) is Submit:
            job = self._jobs.pop(event.task.task_id)
            if self._truth is not None:
                del self._truth[event.task.task_id]
            self._world.refuse(job)

    def _connect(self, now: float, machine: Machine) -> None:
        self._sessions += 1
        self._session_of[machine.index] = self._sessions
        self._index_of[self._sessions] = machine.index
        registration = Registration(
            capabilities=tuple(sorted(machine.can)),
            slots=machine.slots,
            reports_outcomes=True,
            accepts_tasks=self._prefetch > 0,
            prefetch=self._prefetch,
            calendar=self._world.plan.calendar if machine.timetable is not None else None,
        )
        epoch = Epoch(f"boot{machine.up_number}", self._sessions)
        self._do(now, Connect(self._sessions, machine.name, epoch, registration, self._sample(beat_of(now, machine))))

    def _sample(self, beat: Beat) -> Sample:
        busy = min(1.0, (beat.busy + beat.background) / beat.machine.slots)
        running: tuple[RunningLease, ...] | None = None
        if self._lists:
            running = tuple(
                RunningLease(job.lease, None if since is None else (beat.at - since) * 1_000.0)
                for job, since in beat.running
            )
        return Sample(
            cpu=_CPU_BUSY * busy,
            memory=_MEMORY_IDLE + _MEMORY_BUSY * busy,
            queue_depth=beat.unfinished + beat.background,
            timestamp_ms=0,
            running=running,
            probe_nonce=self._answer(beat),
        )

    def _answer(self, beat: Beat) -> str:
        """The nonce of a probe that had come when this heartbeat was taken."""
        nonce, sent_at = self._probes.get(beat.machine.index, ("", inf))
        return nonce if sent_at <= beat.at else ""


def _stands_still() -> float:
    return 0.0


_TICK = Tick()
