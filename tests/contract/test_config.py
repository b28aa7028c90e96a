"""The configuration on the wire: seen, changed, its history, gone back to; each code that the contract names."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_api.v1 import admin_service_pb2_grpc
from scheduler_server.alerts.settings import AlertSettings
from scheduler_server.app import App
from scheduler_server.assignment.demand_settings import DemandSettings
from scheduler_server.config.options import options_of
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.registry.admission_settings import EjectionSettings, RampSettings
from scheduler_server.registry.settings import WorkerSettings
from scheduler_server.rpc.live_settings import FIXED, LIVE, RESTART, markdown
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.storage.snapshot_store import SnapshotError
from tests.contract.server import DEADLINE_S, Running, digest, refused, running, settings, span, until

ROOT = Path(__file__).parents[2]


def stub(server: Running) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(server.channel)


def plain(value: Any) -> Any:
    """A Value as JSON has it."""
    return MessageToDict(value)


def update(server: Running, values: dict[str, Any] | None = None, mask: tuple[str, ...] = (), **fields: Any) -> Any:
    """The call; values as JSON has them."""
    request = ParseDict({"values": values or {}}, admin.UpdateConfigRequest(update_mask=mask, **fields))
    return stub(server).UpdateConfig(request, timeout=DEADLINE_S)


def rollback(server: Running, revision: int, **fields: Any) -> Any:
    return stub(server).RollbackConfig(admin.RollbackConfigRequest(revision=revision, **fields), timeout=DEADLINE_S)


async def got(server: Running, *names: str, **fields: Any) -> dict[str, admin.Setting]:
    answer = await stub(server).GetConfig(admin.GetConfigRequest(names=names, **fields), timeout=DEADLINE_S)
    return {each.name: each for each in answer.settings}


async def values(server: Running, *names: str, **fields: Any) -> dict[str, Any]:
    return {name: plain(each.value) for name, each in (await got(server, *names, **fields)).items()}


async def history(server: Running, **fields: Any) -> list[admin.ConfigRevision]:
    answer = await stub(server).ListConfigHistory(admin.ListConfigHistoryRequest(**fields), timeout=DEADLINE_S)
    return list(answer.revisions)


def kept_in(folder: Path, **parts: Any) -> Settings:
    parts.setdefault("server", ServerSettings(listen="127.0.0.1:0"))
    return Settings(storage=StorageSettings(state_folder=str(folder)), **parts)


@asynccontextmanager
async def at(folder: Path, **parts: Any) -> AsyncIterator[Running]:
    """A server whose state is kept there."""
    async with running(kept_in(folder, **parts)) as server:
        yield server


# ---------------------------------------------------------------------- the table


def test_the_table_says_of_every_setting_whether_a_change_takes_effect_while_the_server_runs() -> None:
    declared = {option.path for option in options_of(Settings)}
    named = [*LIVE, *RESTART, *FIXED]
    missing = declared - set(named)
    assert not missing, f"say in rpc/live_settings.py what a change of these means: {missing}"
    assert set(named) == declared
    assert len(named) == len(declared)


def test_the_table_of_the_documentation_is_this_one() -> None:
    assert markdown() in (ROOT / "docs" / "configuration.md").read_text()


def _read_live(app: App) -> dict[str, Any]:
    """What each part goes by, by the setting that says it."""
    core = app.core
    placement, vitals, link, queue = core.placement, core.vitals, core.link, core.queue
    silence, beats, worker = vitals._settings, link._health, link._worker
    tasks = app.stores.journal
    scorer: Any = core.scorer
    predictor: Any = core.predictor
    return {
        "profile": app.admin.config.profile,  # type: ignore[union-attr]
        "server.grace_s": app.settings.server.grace_s,
        "storage.snapshot_interval_s": app.stores.snapshots._pace.interval_s,  # type: ignore[union-attr]
        "storage.snapshot_max_age_s": app.stores.snapshots._pace.max_age_s,  # type: ignore[union-attr]
        "storage.journal_flush_s": tasks._interval_s,
        "log.level": app.levels._configured,
        "assignment.ended_kept": core.ledger._kept,
        "assignment.ended_kept_s": core.ledger._kept_s,
        "assignment.ack_within_s": placement._settings.assignment.ack_within_s,
        "assignment.max_workers_lost": core.losses._settings.max_workers_lost,
        "assignment.avoid_decliner_s": core.losses._settings.avoid_decliner_s,
        "assignment.lease_factor": placement._lease_factor * 1_000.0,
        "assignment.objective": queue.objective,
        "assignment.explained": core.placement.explaining._settings.assignment.explained,
        "assignment.explain_share": 1.0 / core.placement.explaining._every,
        **{f"health.{name}": getattr(silence, name) for name in (
            "healthy_within_s", "unhealthy_after_s", "remove_after_s", "degraded_load", "recovered_load", "cpu_weight",
            "memory_weight", "slow_below")},
        **{f"ejection.{each.name}": getattr(core.ejecting._settings, each.name) for each in fields(EjectionSettings)},
        **{f"ramp.{each.name}": getattr(core.ramping._settings, each.name) for each in fields(RampSettings)},
        "health.lost_after_s": core.departures._lost_after_s,
        "health.cleanup": core.settings.health.cleanup,
        "health.cleanup_interval_s": core.settings.health.cleanup_interval_s,
        **{f"health.{name}": getattr(beats, name) for name in (
            "heartbeat_min_s", "heartbeat_max_s", "heartbeats_per_s")},
        **{f"worker.{name}": getattr(worker, name) for name in (
            "default_slots", "default_prefetch", "type_specializations", "max_workers", "hand_over_s",
            "reconcile_grace_s")},
        "worker.lost_track_after_s": core.talk._lost_track_after_s,
        "worker.probe_interval_s": core.probing._interval_s,
        "worker.probe_within_s": core.probing._within_s,
        "worker.max_offers": placement._max_offers,
        "predictor.strategy": predictor.name,
        "predictor.ema_alpha": predictor._alpha,
        "predictor.default_ms": placement._default_ms,
        "predictor.budget_ms": placement._budget_s * 1_000.0,
        "predictor.stale_after_s": placement._stale_after_s,
        "predictor.distrust_after": core.accuracy._least,
        "predictor.distrust_below": core.accuracy._below,
        "predictor.trust_above": core.accuracy._above,
        **{f"predictor.{name}": getattr(predictor._settings, name) for name in (
            "type_defaults_ms", "category_defaults_ms", "max_types", "max_keys")},
        "scorer.strategy": scorer.name,
        "scorer.wait_weight": scorer._weights[0],
        "scorer.load_weight": scorer._weights[1],
        "scorer.priority_weight": scorer._weights[2],
        "scorer.max_wait_ms": scorer._max_wait_ms,
        "fallback.failure_threshold": core.breaker._threshold,
        "fallback.retry_after_s": core.breaker._retry_after_s,
        "assignment.drains_kept_s": core.drains._register.kept_s,
        "assignment.drain_stop_within_s": core.drains.stops._within_s,
        "worker.within_shift": "start" if core.placement.within is None else "end_p90",
        "worker.hand_over_at_shift_end": core.shifts._hands_over,
        **{f"rebalance.{name}": getattr(core.rebalancing._settings, name) for name in (
            "interval_s", "max_tasks", "move_staged", "least_gain_s", "least_gain_ratio", "rest_s", "max_moves",
            "confirm_within_s")},
        **{f"demand.{each.name}": getattr(core.settings.demand, each.name) for each in fields(DemandSettings)},
        "shadow.policies": list(app.shadow.names),
        "shadow.loop_share": app.shadow.settings.loop_share,
        "shadow.kept": app.shadow.settings.kept,
        "queue.order": queue.waiting.order.name,
        "queue.patience": queue.waiting.order.basis[1],
        "queue.priority_worth_s": queue.waiting.order.basis[2],
        "queue.backlog_patience": queue.waiting.order.basis[3],
        "queue.tenant_weights": queue.tenants._weights,
        **{f"queue.{name}": getattr(queue._settings, name) for name in (
            "max_length", "tenant_share", "max_payload_bytes")},
        "access.reload_s": app.access._reload_s,
        "limits.overrides": app.overriding.most,
        "limits.standing_orders": app.admin._most_orders(),
        "history.max_pending": app.stores.history.writer._max_pending,  # type: ignore[union-attr]
        "history.flush_interval_s": app.stores.history.writer._interval_s,  # type: ignore[union-attr]
        "history.sample_interval_s": app.stores.history.sampler._interval_s,  # type: ignore[union-attr]
        "history.sampled_workers": app.stores.history.sampler._most,  # type: ignore[union-attr]
        "alerts.off": [name for name in ("workers_lost",) if name not in app.alerts.rules],
        "alerts.threshold": {"waiting_age": app.alerts.rules["waiting_age"].threshold},
        "alerts.clear_threshold": {"waiting_age": app.alerts.rules["waiting_age"].clear_threshold},
        "alerts.for_s": {"waiting_age": app.alerts.rules["waiting_age"].for_s},
        "alerts.clear_after_s": app.alerts._clear_after_s,
        "alerts.interval_s": app.lookout._interval_s,  # type: ignore[union-attr]
    }  # fmt: skip


_NEW: dict[str, Any] = {
    "profile": "slow", "server.grace_s": 3.0, "storage.snapshot_interval_s": 77.0, "storage.snapshot_max_age_s": 444.0,
    "storage.journal_flush_s": 0.25, "log.level": 40, "assignment.ended_kept": 1_234, "assignment.ended_kept_s": 33.0,
    "assignment.ack_within_s": 3.0, "assignment.max_workers_lost": 9, "assignment.avoid_decliner_s": 7.0,
    "assignment.lease_factor": 8.0, "assignment.objective": "latency", "assignment.explained": 11,
    "assignment.explain_share": 0.5, "health.healthy_within_s": 40.0, "health.unhealthy_after_s": 60.0,
    "health.remove_after_s": 700.0, "health.degraded_load": 0.7, "health.recovered_load": 0.6,
    "health.cpu_weight": 0.25, "health.memory_weight": 0.75, "health.lost_after_s": 99.0, "health.cleanup": False,
    "health.cleanup_interval_s": 2.0, "health.heartbeat_min_s": 2.0, "health.heartbeat_max_s": 8.0,
    "health.heartbeats_per_s": 10.0, "worker.default_slots": 7, "worker.default_prefetch": 2,
    "worker.type_specializations": {"gpu": ("render",)}, "worker.max_workers": 5, "worker.hand_over_s": 4.0,
    "worker.reconcile_grace_s": 9.0, "worker.lost_track_after_s": 55.0, "worker.probe_interval_s": 12.0,
    "worker.probe_within_s": 13.0, "worker.max_offers": 21, "predictor.strategy": "ema", "predictor.ema_alpha": 0.5,
    "predictor.default_ms": 900.0, "predictor.budget_ms": 40.0, "predictor.stale_after_s": 20.0,
    "predictor.distrust_after": 30, "predictor.distrust_below": 0.1, "predictor.trust_above": 0.9,
    "predictor.type_defaults_ms": {"a": 5.0}, "predictor.category_defaults_ms": {"c": 6.0}, "predictor.max_types": 999,
    "predictor.max_keys": 888, "scorer.strategy": "weighted", "scorer.wait_weight": 0.25, "scorer.load_weight": 0.5,
    "scorer.priority_weight": 0.125, "scorer.max_wait_ms": 1_000.0, "fallback.failure_threshold": 6,
    "fallback.retry_after_s": 6.5, "queue.order": "shortest", "queue.patience": 2.5, "queue.priority_worth_s": 17.0,
    "queue.backlog_patience": 0.75,
    "queue.tenant_weights": {"t": 2.0}, "queue.max_length": 501, "queue.tenant_share": 0.25,
    "queue.max_payload_bytes": 4_096, "alerts.off": ["workers_lost"], "alerts.threshold": {"waiting_age": 50.0},
    "alerts.clear_threshold": {"waiting_age": 40.0}, "alerts.for_s": {"waiting_age": 5.0}, "alerts.clear_after_s": 3.0,
    "alerts.interval_s": 9.0, "access.reload_s": 5.0, "history.max_pending": 2_000, "history.flush_interval_s": 0.5,
    "history.sample_interval_s": 30.0, "history.sampled_workers": 77, "limits.overrides": 17,
    "limits.standing_orders": 18, "health.slow_below": 0.1, "ejection.enabled": False, "ejection.certainty": 1e5,
    "ejection.tolerated": 0.1, "ejection.first_s": 5.0, "ejection.growth": 3.0, "ejection.longest_s": 600.0,
    "ejection.max_share": 0.5, "ejection.trial_tasks": 2, "ejection.forget_after_s": 60.0, "ramp.over_s": 1.0,
    "ramp.first_share": 0.5, "ramp.tasks": 3, "assignment.drains_kept_s": 77.0,
    "assignment.drain_stop_within_s": 7.0, "worker.within_shift": "end_p90", "worker.hand_over_at_shift_end": False,
    "rebalance.interval_s": 7.0, "rebalance.max_tasks": 9, "rebalance.move_staged": False,
    "rebalance.least_gain_s": 2.0, "rebalance.least_gain_ratio": 0.4, "rebalance.rest_s": 11.0,
    "rebalance.max_moves": 2, "rebalance.confirm_within_s": 3.0,
    "demand.target_wait_s": 12.0, "demand.interval_s": 2.0, "demand.smooth_s": 33.0,
    "demand.classes": {"gpu": ("cuda",)}, "shadow.policies": ["random", "caller"], "shadow.loop_share": 0.25,
    "shadow.kept": 123,
}  # fmt: skip

_ELSEWHERE = {
    # Other scorers have these: tests/unit/scorer shows what they do, and test_reconfiguring that a scorer is made anew.
    "scorer.capacity_weight", "scorer.success_weight", "scorer.speed_weight", "scorer.specialization_bonus",
    "scorer.room_weight", "scorer.health_score_floor",
    # With access control: test_access_limits_live.
    "limits.assign_per_s", "limits.assign_burst", "limits.assign_in_flight", "limits.workers", "limits.streams",
    "limits.task_types", "limits.tenants", "limits.labels", "limits.capabilities", "limits.names_kept_s",
    # With a collector, and with Redis.
    "traces.sample_ratio", "metrics.otlp_interval_s",
    "dispatch.batch", "dispatch.max_deliveries", "dispatch.dead_letters_max", "dispatch.published_max",
    "dispatch.trim_every_s", "dispatch.keep_s",
}  # fmt: skip


async def test_every_live_setting_reaches_the_part_that_goes_by_it(tmp_path: Path) -> None:
    assert set(_NEW) | _ELSEWHERE == set(LIVE)
    async with at(tmp_path) as server:
        before = _read_live_or_default(server.app)
        asked = {**_NEW, "log.level": "error"}
        answer = await update(server, json.loads(json.dumps(asked)), force=True)
        # What a value already was does not differ.
        assert {each.name for each in answer.changes} >= set(_NEW) - {"queue.order", "scorer.strategy"}
        after = _read_live(server.app)
        assert logging.getLogger().level == logging.ERROR
        for path, value in _NEW.items():
            assert after[path] == pytest.approx(value) if isinstance(value, float) else after[path] == value, path
            if path in before and path not in {"queue.order", "scorer.strategy"}:
                assert before[path] != after[path], path


def _read_live_or_default(app: App) -> dict[str, Any]:
    """The same before the change, as far as the default strategies have it."""
    core: Any = app.core
    core.predictor._alpha = 0.3
    found = _read_live(app)
    del core.predictor._alpha
    return found


async def test_workers_by_default_have_the_new_slots_at_once() -> None:
    async with running(settings(worker=WorkerSettings(default_slots=1))) as server:
        await server.worker("w")
        await server.assign("t1")
        await update(server, {"worker.default_slots": 2})
        assert (await server.assign("t2")).decision.policy_revision == 2


async def test_rules_of_alerts_are_looked_at_once_that_is_switched_on_and_no_more_once_it_is_off() -> None:
    async with running(settings(alerts=AlertSettings(interval_s=0))) as server:
        lookout: Any = server.app.lookout
        assert not lookout._task
        await update(server, {"alerts.interval_s": 0.01})
        assert lookout._task is not None
        await update(server, {"alerts.interval_s": 0.0})
        await until(lookout._task.done, "it looks no more")


# ---------------------------------------------------------------------- seen


async def test_each_value_is_shown_with_its_origin_and_default(live: Running) -> None:
    await update(live, {"scorer.wait_weight": 0.7})
    found = await got(live, "scorer", "server.listen")
    assert plain(found["scorer.wait_weight"].value) == 0.7
    assert found["scorer.wait_weight"].origin == admin.SETTING_ORIGIN_UPDATE
    assert found["scorer.wait_weight"].origin_detail == "revision 2"
    assert plain(found["scorer.wait_weight"].default_value) == 0.4
    assert found["scorer.load_weight"].origin == admin.SETTING_ORIGIN_DEFAULT
    assert found["server.listen"].origin == admin.SETTING_ORIGIN_FLAG
    assert found["server.listen"].needs_restart
    assert not found["scorer.load_weight"].needs_restart
    assert "at least 0, at most 1" in found["scorer.load_weight"].description
    assert list(found) == sorted(found)


async def test_all_settings_are_shown_and_only_those_changed_where_that_is_asked(live: Running) -> None:
    assert set(await got(live)) == {option.path for option in options_of(Settings)}
    assert set(await got(live, changed_only=True)) == {"server.listen", "storage.state_folder"}


async def test_secrets_are_left_out_everywhere(live: Running) -> None:
    secret = "redis://:hush@127.0.0.1:1"
    await update(live, {"storage.snapshot_url": secret}, accept_restart=True)
    everything = [*(await got(live)).values(), *await history(live)]
    everything.append(await update(live, {"scorer.wait_weight": 0.1}, dry_run=True))
    assert "hush" not in str(everything)
    shown = (await got(live))["storage.snapshot_url"]
    assert (shown.secret, shown.HasField("value"), shown.HasField("default_value")) == (True, False, False)
    problem = await refused(update(live, {"storage.snapshot_url": "hush://hush"}))
    assert "hush" not in str(problem)


async def test_settings_are_shown_as_they_were_in_a_revision(live: Running) -> None:
    await update(live, {"scorer.wait_weight": 0.7})
    await update(live, {"scorer.wait_weight": 0.6})
    assert (await values(live, "scorer.wait_weight", revision=1)) == {"scorer.wait_weight": 0.4}
    found = (await got(live, "scorer.wait_weight", revision=2))["scorer.wait_weight"]
    assert (plain(found.value), found.origin_detail) == (0.7, "revision 2")


async def test_an_unknown_setting_or_revision_is_not_found(live: Running) -> None:
    problem = await refused(stub(live).GetConfig(admin.GetConfigRequest(names=["scorer.wait_wieght"])))
    assert (problem.code, problem.reason) == ("NOT_FOUND", "SETTING_UNKNOWN")
    assert "did you mean scorer.wait_weight?" in problem.message
    problem = await refused(stub(live).GetConfig(admin.GetConfigRequest(revision=7)))
    assert (problem.code, problem.reason) == ("NOT_FOUND", "REVISION_UNKNOWN")


async def test_the_status_tells_the_policy_in_force(live: Running) -> None:
    await update(live, {"scorer.strategy": "capability", "scorer.speed_weight": 0.3, "assignment.objective": "even"})
    policy = (await stub(live).GetStatus(admin.GetStatusRequest())).policy
    assert (policy.revision, policy.scorer, policy.order, policy.objective) == (2, "capability", "fifo", "even")
    assert dict(policy.weights) == {"capacity": 0.5, "success_rate": 0.3, "speed": 0.3}


# ---------------------------------------------------------------------- changed


async def test_a_change_holds_for_the_next_decision_and_is_told_as_an_event(live: Running) -> None:
    await live.worker("w", registration={"max_concurrent_tasks": 3})
    assert (await live.assign("t1")).decision.policy_revision == 1
    answer = await update(live, {"scorer.strategy": "earliest_finish"}, reason="faster", based_on_revision=1)
    assert (answer.revision, [each.name for each in answer.changes]) == (2, ["scorer.strategy"])
    assert answer.policy.scorer == "earliest_finish"
    decision = (await live.assign("t2")).decision
    assert (decision.policy_revision, decision.scorer) == (2, "earliest_finish")
    assert live.told(FleetEventKind.CONFIG_CHANGED) == [("CONFIG_CHANGED", "", "1", "2")]


async def test_what_is_so_already_makes_no_revision(live: Running) -> None:
    answer = await update(live, {"scorer.wait_weight": 0.4})
    assert (answer.revision, list(answer.changes)) == (1, [])
    assert len(await history(live)) == 1


async def test_all_that_is_wrong_is_named_at_once_and_nothing_is_done(live: Running) -> None:
    before = digest(live)
    wrong = {
        "scorer.wait_weight": 2,
        "scorer.load_weight": "much",
        "health.remove_after_s": 1,
        "no.such": 1,
        "queue.max_length": 1.5,
        "storage.state_folder": "/elsewhere",
    }
    problem = await refused(update(live, wrong))
    assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert {"values[no.such]", "values[storage.state_folder]"} <= set(problem.fields)
    del wrong["no.such"], wrong["storage.state_folder"]
    problem = await refused(update(live, wrong))
    assert set(problem.fields) == {f"values[{name}]" for name in wrong}
    assert "must be at most 1 (got 2, from update)" in "".join(problem.descriptions)
    problem = await refused(update(live, {"health.remove_after_s": 1}))
    assert problem.fields == ["values[health.remove_after_s]"]
    assert "must not be below unhealthy_after_s (30)" in problem.message
    assert digest(live) == before
    assert len(await history(live)) == 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", None, [1], {"a": 1}, True, ""])
async def test_a_value_of_another_kind_is_refused_by_its_name(live: Running, value: Any) -> None:
    request = admin.UpdateConfigRequest()
    if value in ("NaN", "Infinity"):
        request.values["scorer.wait_weight"].number_value = float(value)
    else:
        ParseDict(value, request.values["scorer.wait_weight"])
    problem = await refused(stub(live).UpdateConfig(request))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["values[scorer.wait_weight]"])


async def test_contradictory_weights_are_refused_with_field_value_and_limit(live: Running) -> None:
    problem = await refused(update(live, {"health.cpu_weight": 0.5}))
    assert problem.code == "INVALID_ARGUMENT"
    assert problem.fields == ["health.memory_weight"]
    assert "must make 1 together with cpu_weight (0.5) (got 0.4, from default)" in problem.message


async def test_the_mask_resets_what_has_no_value_and_refuses_what_it_does_not_cover(live: Running) -> None:
    await update(live, {"scorer.wait_weight": 0.7, "scorer.load_weight": 0.1})
    problem = await refused(update(live, {"scorer.wait_weight": 0.6}, mask=("scorer.load_weight",)))
    assert problem.fields == ["values[scorer.wait_weight]"]
    answer = await update(live, {"scorer.wait_weight": 0.6}, mask=("scorer",))
    assert [(each.name, each.after.number_value) for each in answer.changes] == [
        ("scorer.load_weight", 0.4), ("scorer.wait_weight", 0.6)
    ]  # fmt: skip
    assert (await got(live, "scorer.load_weight"))["scorer.load_weight"].origin == admin.SETTING_ORIGIN_DEFAULT
    assert not (await update(live, mask=("storage",))).changes  # also what cannot be changed at run time
    problem = await refused(update(live, mask=("scroer",)))
    assert problem.fields == ["update_mask[0]"]
    problem = await refused(update(live))
    assert problem.fields == ["values"]


async def test_a_change_based_on_another_revision_is_stale(live: Running) -> None:
    await update(live, {"scorer.wait_weight": 0.7}, based_on_revision=1)
    problem = await refused(update(live, {"scorer.wait_weight": 0.5}, based_on_revision=1))
    assert (problem.code, problem.reason) == ("ABORTED", "REVISION_STALE")
    assert problem.metadata == {"revision": "2", "based_on_revision": "1"}
    problem = await refused(rollback(live, 1, based_on_revision=1))
    assert (problem.code, problem.reason) == ("ABORTED", "REVISION_STALE")


async def test_a_threshold_that_would_mark_the_whole_fleet_is_refused_unless_forced(live: Running) -> None:
    await live.worker("w", registration={"max_concurrent_tasks": 3}, cpu_usage=0.5)
    limits = {"health.degraded_load": 0.2, "health.recovered_load": 0.1}
    problem = await refused(update(live, limits))
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "CONFIG_HARMFUL")
    assert problem.metadata == {"settings": "health.degraded_load"}
    assert "1 of 1 workers would be degraded" in problem.message
    assert live.health() == "HEALTHY"
    tried = await update(live, limits, dry_run=True, replay_decisions=1)
    assert any(said.startswith("CONFIG_HARMFUL") and "not sent" in said for said in tried.warnings)
    assert (tried.effect.changed_health, live.health()) == (1, "HEALTHY")
    await update(live, limits, force=True)
    assert live.health() == "DEGRADED"


async def test_what_needs_a_restart_is_refused_unless_it_may_wait(live: Running) -> None:
    problem = await refused(update(live, {"server.listen": "127.0.0.1:1", "scorer.wait_weight": 0.1}))
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "RESTART_NEEDED")
    assert problem.metadata == {"settings": "server.listen"}
    answer = await update(live, {"server.listen": "127.0.0.1:1", "scorer.wait_weight": 0.1}, accept_restart=True)
    assert [(each.name, each.needs_restart) for each in answer.changes] == [
        ("scorer.wait_weight", False), ("server.listen", True)
    ]  # fmt: skip
    found = await stub(live).GetConfig(admin.GetConfigRequest(names=["server.listen"]))
    assert list(found.awaiting_restart) == ["server.listen"]


async def test_nothing_changes_where_it_cannot_be_stored(tmp_path: Path) -> None:
    async with at(tmp_path) as server:
        store: Any = server.app.configuring.store

        def fails(*_: Any, **__: Any) -> None:
            raise SnapshotError("no space left on device")

        store.write = fails
        problem = await refused(update(server, {"scorer.wait_weight": 0.7}))
        assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert (await values(server, "scorer.wait_weight")) == {"scorer.wait_weight": 0.4}
        assert server.core.placement.policy_revision == 1
        del store.write
        assert (await update(server, {"scorer.wait_weight": 0.7})).revision == 2


async def test_a_change_whose_caller_has_gone_is_carried_to_its_end_before_the_next_one_begins(tmp_path: Path) -> None:
    async with at(tmp_path) as server:
        store: Any = server.app.configuring.store
        write, begun, go_on = store.write, threading.Event(), threading.Event()

        def slow(*words: Any, **more: Any) -> None:
            begun.set()
            go_on.wait(DEADLINE_S)
            write(*words, **more)

        store.write = slow
        first = update(server, {"scorer.wait_weight": 0.7})
        await until(begun.is_set, "it is being written")
        first.cancel()
        second = asyncio.ensure_future(update(server, {"scorer.load_weight": 0.7}))
        await asyncio.sleep(0)
        go_on.set()
        assert (await second).revision == 3
        assert await values(server, "scorer.wait_weight") == {"scorer.wait_weight": 0.7}
    async with at(tmp_path) as server:
        assert (await values(server, "scorer.wait_weight", "scorer.load_weight")) == {
            "scorer.load_weight": 0.7, "scorer.wait_weight": 0.7
        }  # fmt: skip


async def test_without_a_state_folder_the_answer_says_that_it_is_not_kept(live: Running) -> None:
    assert any("not kept over a restart" in said for said in (await update(live, {"scorer.wait_weight": 0.7})).warnings)


async def test_a_server_that_goes_down_changes_nothing_more(live: Running) -> None:
    live.app.admin.drain()
    for call in (
        update(live, {"scorer.wait_weight": 0.7}),
        rollback(live, 1),
        stub(live).SetPredictionDefault(admin.SetPredictionDefaultRequest(task_type="a", duration=span(1))),
    ):
        problem = await refused(call)
        assert (problem.code, problem.reason) == ("UNAVAILABLE", "SERVER_DRAINING")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"reason": "x" * 4_097}, "reason"),
        ({"replay_decisions": 10_001, "dry_run": True}, "replay_decisions"),
        ({"replay_decisions": 1}, "replay_decisions"),
    ],
)
async def test_fields_out_of_range_are_refused(live: Running, fields: dict[str, Any], field: str) -> None:
    problem = await refused(update(live, {"scorer.wait_weight": 0.7}, **fields))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", [field])
    assert (await update(live, {"scorer.wait_weight": 0.7}, reason="x" * 4_096)).revision == 2


# ---------------------------------------------------------------------- tried


async def test_null_is_no_value_and_names_of_a_mask_are_given_one_by_one(live: Running) -> None:
    told = await refused(update(live, {"queue.order": None, "scorer.wait_weight": 7}))
    assert told.fields == ["values[queue.order]", "values[scorer.wait_weight]"]
    assert "queue.order]: is null: to go back to what was loaded, name it in update_mask alone" in told.message
    await update(live, {"queue.patience": None})  # which may be none
    told = await refused(update(live, {"queue.order": "fifo"}, mask=("queue.order,queue.patience",)))
    assert "update_mask[0]: has commas" in told.message


async def test_a_dry_run_decides_the_last_tasks_anew_and_changes_nothing(live: Running) -> None:
    await live.worker("fast", registration={"max_concurrent_tasks": 9}, cpu_usage=0.6)
    await live.worker("idle", registration={"max_concurrent_tasks": 9})
    live.record("fast").speed = 4.0
    for number in range(3):
        assert (await live.assign(f"t{number}")).decision.worker_id == "idle"
    before = digest(live)
    answer = await update(live, {"scorer.strategy": "earliest_finish"}, dry_run=True, replay_decisions=10)
    assert digest(live) == before
    assert answer.revision == 1
    assert (answer.effect.decisions, answer.effect.changed_workers, answer.effect.changed_sources) == (3, 3, 0)
    first = answer.effect.examples[0]
    assert (first.task.task_id, first.worker_before, first.worker_after) == ("t2", "idle", "fast")
    assert "3 decisions: on the present fleet" in list(answer.warnings)
    assert any(said.startswith("7 decisions asked for are not there") for said in answer.warnings)
    assert answer.policy.scorer == "earliest_finish"
    assert (await values(live, "scorer.strategy")) == {"scorer.strategy": ""}


async def test_a_dry_run_of_weights_goes_by_the_candidates_that_were_recorded(live: Running) -> None:
    await live.worker("near", registration={"max_concurrent_tasks": 9}, cpu_usage=0.2)
    await live.worker("idle", registration={"max_concurrent_tasks": 9})
    assert (await live.assign("t", view=2)).decision.worker_id == "idle"
    answer = await update(live, {"scorer.load_weight": 0.9}, dry_run=True, replay_decisions=1)
    assert (answer.effect.decisions, answer.effect.changed_workers) == (1, 0)
    assert "1 decisions: from its recorded candidates" in list(answer.warnings)


async def test_a_dry_run_goes_by_the_overrides_in_force(live: Running) -> None:
    for name in ("fast", "idle", "slow"):
        await live.worker(name, registration={"max_concurrent_tasks": 9}, cpu_usage=0.0 if name == "idle" else 0.6)
    live.record("fast").speed = 4.0
    live.record("slow").speed = 0.5
    await live.assign("t")
    scope, workers = admin.OverrideScope(tenant=""), admin.OverrideExclude(worker_ids=["fast"])
    asked = admin.CreateOverrideRequest(override=admin.Override(scope=scope, exclude=workers))
    await stub(live).CreateOverride(asked, timeout=DEADLINE_S)
    answer = await update(live, {"scorer.strategy": "earliest_finish"}, dry_run=True, replay_decisions=1)
    assert (answer.effect.decisions, answer.effect.changed_workers) == (1, 0)
    assert any("under the overrides in force now" in said for said in answer.warnings)
    cap = admin.OverrideCap(max_concurrent=0)
    asked = admin.CreateOverrideRequest(override=admin.Override(scope=scope, cap=cap))
    await stub(live).CreateOverride(asked, timeout=DEADLINE_S)
    answer = await update(live, {"scorer.strategy": "earliest_finish"}, dry_run=True, replay_decisions=1)
    assert "1 decisions: an override holds such tasks back now" in list(answer.warnings)


async def test_a_dry_run_says_what_it_cannot_judge(live: Running) -> None:
    await live.worker("w", registration={"max_concurrent_tasks": 1})
    await live.assign("t")
    answer = await update(live, {"scorer.strategy": "earliest_finish"}, dry_run=True, replay_decisions=1)
    assert answer.effect.decisions == 0
    assert not answer.effect.HasField("mean_wait_after")
    assert "1 decisions: nobody could take it now" in list(answer.warnings)


# ---------------------------------------------------------------------- history


async def test_history_tells_who_changed_what_and_why_newest_first(live: Running) -> None:
    await update(live, {"scorer.wait_weight": 0.7}, reason="try")
    await update(live, {"queue.order": "fifo"})
    found = await history(live)
    assert [(each.revision, each.author, each.reason) for each in found] == [
        (3, "anonymous", ""), (2, "anonymous", "try"), (1, "start", "")
    ]  # fmt: skip
    [change] = found[1].changes
    assert (change.name, change.before.number_value, change.after.number_value) == ("scorer.wait_weight", 0.4, 0.7)
    assert [each.revision for each in await history(live, names=["queue"])] == [3]
    problem = await refused(stub(live).ListConfigHistory(admin.ListConfigHistoryRequest(names=["quue"])))
    assert (problem.code, problem.fields) == ("INVALID_ARGUMENT", ["names[0]"])


async def test_history_is_paged_and_cut_by_time(live: Running) -> None:
    for number in range(4):
        live.clock.wall += 10.0
        await update(live, {"queue.max_length": number})
    pages = []
    token = ""
    while True:
        answer = await stub(live).ListConfigHistory(admin.ListConfigHistoryRequest(page_size=2, page_token=token))
        pages.append([each.revision for each in answer.revisions])
        token = answer.next_page_token
        if not token:
            break
    assert pages == [[5, 4], [3, 2], [1]]
    request = admin.ListConfigHistoryRequest()
    request.range.start.FromNanoseconds(round((live.clock.wall - 20.0) * 1e9))
    request.range.end.FromNanoseconds(round(live.clock.wall * 1e9))
    assert [each.revision for each in (await stub(live).ListConfigHistory(request)).revisions] == [4, 3]
    problem = await refused(stub(live).ListConfigHistory(admin.ListConfigHistoryRequest(page_token="x")))
    assert (problem.code, problem.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_a_rollback_is_a_new_revision_with_the_values_of_the_old_one(live: Running) -> None:
    await update(live, {"scorer.wait_weight": 0.7})
    await update(live, {"scorer.wait_weight": 0.6, "queue.order": "fifo"})
    tried = await rollback(live, 2, dry_run=True)
    assert (tried.revision, {each.name for each in tried.changes}) == (3, {"queue.order", "scorer.wait_weight"})
    answer = await rollback(live, 2, reason="worse")
    assert (answer.revision, answer.policy.order) == (4, "shortest")
    newest = (await history(live))[0]
    assert (newest.revision, newest.rolled_back_to, newest.reason) == (4, 2, "worse")
    assert (await values(live, "scorer.wait_weight")) == {"scorer.wait_weight": 0.7}


async def test_a_rollback_is_checked_as_a_change_is(live: Running) -> None:
    problem = await refused(rollback(live, 9))
    assert (problem.code, problem.reason) == ("NOT_FOUND", "REVISION_UNKNOWN")
    assert (await refused(rollback(live, 0))).fields == ["revision"]
    await update(live, {"health.degraded_load": 0.2, "health.recovered_load": 0.1})
    await update(live, mask=("health",))
    await live.worker("w", registration={"max_concurrent_tasks": 3}, cpu_usage=0.5)
    problem = await refused(rollback(live, 2))
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "CONFIG_HARMFUL")
    assert (await rollback(live, 2, force=True)).revision == 4
    await update(live, {"server.listen": "127.0.0.1:1"}, accept_restart=True)
    await update(live, mask=("server",))
    problem = await refused(rollback(live, 5))
    assert (problem.code, problem.reason) == ("FAILED_PRECONDITION", "RESTART_NEEDED")
    assert (await rollback(live, 5, accept_restart=True)).revision == 7


# ---------------------------------------------------------------------- defaults of predictions


async def test_a_prediction_default_holds_at_the_next_prediction_and_is_a_revision(live: Running) -> None:
    await live.worker("w", registration={"max_concurrent_tasks": 9})
    request = admin.SetPredictionDefaultRequest(task_type="resize", duration=span(0.25), reason="measured")
    answer = await stub(live).SetPredictionDefault(request)
    assert (answer.revision, answer.duration.ToMilliseconds()) == (2, 250)
    assert (await live.assign("t1")).decision.predicted_duration_ms == 250
    answer = await stub(live).SetPredictionDefault(admin.SetPredictionDefaultRequest(category="c", duration=span(2)))
    assert (answer.revision, answer.duration.ToSeconds()) == (3, 2)
    assert (await values(live, "predictor.type_defaults_ms")) == {"predictor.type_defaults_ms": {"resize": 250.0}}
    answer = await stub(live).SetPredictionDefault(admin.SetPredictionDefaultRequest(task_type="resize"))
    assert (answer.revision, answer.duration.ToSeconds()) == (4, 5)
    assert (await live.assign("t2")).decision.predicted_duration_ms == 5_000


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"duration": span(1)}, "task_type"),
        ({"task_type": "a", "category": "b", "duration": span(1)}, "task_type"),
        ({"task_type": "a", "duration": span(0)}, "duration"),
        ({"task_type": "a", "duration": span(-1)}, "duration"),
        ({"task_type": "a", "duration": span(365 * 86_400 + 1)}, "duration"),
        ({"task_type": "a" * 257, "duration": span(1)}, "task_type"),
    ],
)
async def test_a_default_that_cannot_be_is_refused(live: Running, fields: dict[str, Any], field: str) -> None:
    problem = await refused(stub(live).SetPredictionDefault(admin.SetPredictionDefaultRequest(**fields)))
    assert (problem.code, problem.fields[0]) == ("INVALID_ARGUMENT", field)


async def test_a_default_based_on_another_revision_is_stale_and_a_year_is_allowed(live: Running) -> None:
    year = admin.SetPredictionDefaultRequest(task_type="a", duration=span(365 * 86_400), based_on_revision=1)
    assert (await stub(live).SetPredictionDefault(year)).revision == 2
    problem = await refused(stub(live).SetPredictionDefault(year))
    assert (problem.code, problem.reason) == ("ABORTED", "REVISION_STALE")


# ---------------------------------------------------------------------- log levels


async def test_the_log_level_is_set_for_a_part_and_goes_back(live: Running) -> None:
    calls = stub(live)
    was = (await calls.SetLogLevel(admin.SetLogLevelRequest(logger="rpc"))).level
    answer = await calls.SetLogLevel(admin.SetLogLevelRequest(level=admin.LOG_LEVEL_ERROR, logger="rpc"))
    assert (answer.level, answer.previous_level) == (admin.LOG_LEVEL_ERROR, was)
    assert live.told(FleetEventKind.LOG_LEVEL_CHANGED)[0][3] == "error"
    answer = await calls.SetLogLevel(admin.SetLogLevelRequest(logger="rpc"))
    assert (answer.level, answer.previous_level) == (was, admin.LOG_LEVEL_ERROR)


async def test_a_log_level_that_expires_goes_back_by_itself(live: Running) -> None:
    request = admin.SetLogLevelRequest(
        level=admin.LOG_LEVEL_ERROR, logger="rpc.shell", expires_after=span(0.01), reason="look"
    )
    await stub(live).SetLogLevel(request)
    await until(lambda: len(live.told(FleetEventKind.LOG_LEVEL_CHANGED)) == 2, "the level goes back")


async def test_an_unknown_part_is_not_found_with_those_there_are(live: Running) -> None:
    problem = await refused(stub(live).SetLogLevel(admin.SetLogLevelRequest(level=admin.LOG_LEVEL_DEBUG, logger="rcp")))
    assert (problem.code, problem.reason) == ("NOT_FOUND", "LOGGER_UNKNOWN")
    assert "rpc" in problem.message
    for request, field in (
        (admin.SetLogLevelRequest(level=9), "level"),  # type: ignore[arg-type]
        (admin.SetLogLevelRequest(level=admin.LOG_LEVEL_DEBUG, expires_after=span(0)), "expires_after"),
        (admin.SetLogLevelRequest(expires_after=span(1)), "expires_after"),
    ):
        assert (await refused(stub(live).SetLogLevel(request))).fields == [field]


# ---------------------------------------------------------------------- over a restart


def _named(folder: Path, begins: str) -> list[str]:
    return [each.name for each in folder.iterdir() if each.name.startswith(begins)]


async def test_what_was_answered_is_there_after_a_restart(tmp_path: Path) -> None:
    async with at(tmp_path) as server:
        await update(server, {"scorer.strategy": "capability", "health.unhealthy_after_s": 60}, reason="r")
        await update(server, {"server.grace_s": 3.0})
    async with at(tmp_path) as server:
        assert (await values(server, "scorer.strategy")) == {"scorer.strategy": "capability"}
        assert (server.core.scorer.name, server.app.settings.server.grace_s) == ("capability", 3.0)
        assert server.core.placement.policy_revision == 3
        assert [(each.revision, each.reason) for each in await history(server)] == [(3, ""), (2, "r"), (1, "")]
    # Another file or flag: live changes lie over it, and the start makes a revision of what differs.
    async with at(tmp_path, worker=WorkerSettings(default_slots=9)) as server:
        newest = (await history(server))[0]
        assert (newest.revision, newest.author, [each.name for each in newest.changes]) == (
            4, "start", ["worker.default_slots"]
        )  # fmt: skip
        assert server.core.scorer.name == "capability"


async def test_a_damaged_file_is_set_aside_and_the_server_starts_with_what_file_and_flags_say(tmp_path: Path) -> None:
    async with at(tmp_path) as server:
        await update(server, {"scorer.strategy": "capability"})
    for name in ("config", "config.1"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes().replace(b"weight", b"wieght"))
    async with at(tmp_path) as server:
        assert server.core.scorer.name == "weighted"
        newest = (await history(server))[0]
        assert newest.author == "start"
        assert "damaged" in newest.reason
        assert newest.revision > 1_000_000_000  # nobody has counted so far
        answer = await update(server, {"scorer.strategy": "specialist"})
        assert answer.revision == newest.revision + 1
    async with at(tmp_path) as server:
        assert server.core.scorer.name == "specialist"
    assert _named(tmp_path, "config.damaged-")


async def test_a_file_of_a_newer_version_is_left_out_and_kept(tmp_path: Path) -> None:
    async with at(tmp_path) as server:
        await update(server, {"scorer.strategy": "capability"})
    (tmp_path / "config.1").unlink()
    text = (tmp_path / "config").read_bytes()
    assert b'"version":1' in text.replace(b" ", b"")
    (tmp_path / "config").write_bytes(
        text.replace(b'"version": 1', b'"version": 9').replace(b'"version":1', b'"version":9')
    )
    async with at(tmp_path) as server:
        assert server.core.scorer.name == "weighted"
        assert "has version 9" in (await history(server))[0].reason
    assert _named(tmp_path, "config.version-9")
