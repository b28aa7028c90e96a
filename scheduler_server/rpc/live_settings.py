"""For each setting: does a change take effect while the server runs, and how? docs/configuration.md has it as a table.

A test holds this against the settings' own declarations, so that none is forgotten; one that nobody has thought about
yet waits for a restart.
"""

from collections.abc import Iterator

AT_ONCE = "at once, for every decision from then on"
_RANKED = "at once: every worker is ranked anew"
_JUDGED = "at once: every worker is judged anew"
_ORDERED = "at once: what waits is ordered anew, a few at a time"
_NEXT = "from the next one on"

_LIVE: dict[str, dict[str, str]] = {
    "": {"profile": "at once, as far as what it sets is live"},
    "server": {"grace_s": "when the server goes down"},
    "access": {"reload_s": "at once"},
    "limits": {
        "assign_per_s": "from the next call on; what was taken or is owed stays",
        "assign_burst": "from the next call on",
        "assign_in_flight": "from the next call on; what is under way stays",
        "workers": "from the next registration on; those registered stay",
        "streams": "from the next one on; what is open stays",
        **dict.fromkeys(
            ("task_types", "tenants", "labels", "capabilities"), "from the next name on; those counted stay counted"
        ),
        "names_kept_s": "from the next name on",
        "overrides": "from the next one on; those in force stay",
        "standing_orders": "from the next one on; those that stand stay",
    },
    "storage": {
        "snapshot_interval_s": "from the next snapshot on",
        "snapshot_max_age_s": "at once",
        "journal_flush_s": "from the next batch on",
    },
    "log": {"level": "at once"},
    "metrics": {"otlp_interval_s": "after the next push"},
    "traces": {"sample_ratio": "from the next task on"},
    "assignment": {
        "ended_kept": "as tasks end, four forgotten for each",
        "ended_kept_s": "within seconds",
        "ack_within_s": "from the next hand-over on",
        "max_workers_lost": "from the next loss on",
        "avoid_decliner_s": "from the next decline on",
        "drain_stop_within_s": "from the next deadline on",
        "drains_kept_s": "within seconds",
        "lease_factor": "from the next lease on",
        "objective": "at once: order, patience and scorer, where they are not set themselves",
        "explained": AT_ONCE,
        "explain_share": AT_ONCE,
    },
    "health": {
        **dict.fromkeys(
            ("healthy_within_s", "unhealthy_after_s", "remove_after_s", "degraded_load", "recovered_load", "slow_below",
             "cpu_weight", "memory_weight"),
            _JUDGED,
        ),
        "lost_after_s": "within a second, for workers that are silent already too",
        "cleanup": "at the next cleanup",
        "cleanup_interval_s": "at once",
        **dict.fromkeys(
            ("heartbeat_min_s", "heartbeat_max_s", "heartbeats_per_s"), "each worker is told with its next heartbeat"
        ),
    },
    "worker": {
        "default_slots": "at once, for workers that do not say",
        "default_prefetch": "at once, for workers that do not say",
        "type_specializations": "at once, for workers that name none themselves",
        "max_workers": "from the next registration on",
        "hand_over_s": "from the next heartbeat on",
        "lost_track_after_s": "from the next lease or heartbeat on",
        "probe_interval_s": "from the next heartbeat on",
        "probe_within_s": "from the next heartbeat on",
        "within_shift": AT_ONCE,
        "hand_over_at_shift_end": "from the next end of a shift, or beat of who is off shift, on",
        "max_offers": _JUDGED,
        "reconcile_grace_s": "from the next heartbeat on",
    },
    "ejection": {
        "enabled": "at once: switched off, those that are out are in again",
        **dict.fromkeys(("certainty", "tolerated"), "from the next outcome on"),
        **dict.fromkeys(("first_s", "growth", "longest_s", "max_share"), "from the next ejection on"),
        "trial_tasks": "from the next trial on",
        "forget_after_s": "from the next trial on",
    },
    "ramp": dict.fromkeys(
        ("over_s", "first_share", "tasks"), "from the next newcomer on, and with the next step of those there are"
    ),
    "predictor": {
        "strategy": "at once: it begins with what it had learned before, and is taught the last outcomes",
        "ema_alpha": "from the next outcome on",
        "default_ms": AT_ONCE,
        "type_defaults_ms": AT_ONCE,
        "category_defaults_ms": AT_ONCE,
        "max_types": "as outcomes come, a few forgotten for each",
        "max_keys": "as outcomes come, a few forgotten for each",
        "budget_ms": AT_ONCE,
        "stale_after_s": AT_ONCE,
        "distrust_after": "from the next outcome on",
        "distrust_below": "from the next outcome on",
        "trust_above": "from the next outcome on",
    },
    "scorer": dict.fromkeys(
        ("strategy", "wait_weight", "load_weight", "priority_weight", "max_wait_ms", "capacity_weight",
         "success_weight", "speed_weight", "specialization_bonus", "room_weight", "health_score_floor"),
        _RANKED,
    ),
    "fallback": {"failure_threshold": "from the next failure on", "retry_after_s": "at once"},
    "queue": {
        **dict.fromkeys(("order", "patience", "backlog_patience", "priority_worth_s", "tenant_weights"), _ORDERED),
        "max_length": "from the next task on; what waits stays",
        "tenant_share": "from the next task on; what waits stays",
        "max_payload_bytes": "from the next task on; what waits stays",
    },
    "rebalance": dict.fromkeys(
        ("interval_s", "max_tasks", "move_staged", "least_gain_s", "least_gain_ratio", "rest_s", "max_moves",
         "confirm_within_s"),
        "from the next round on",
    ),
    "demand": {
        **dict.fromkeys(("target_wait_s", "smooth_s", "classes"), "at the next look"),
        "interval_s": "after the next look",
    },
    "dispatch": {
        "batch": _NEXT,
        "max_deliveries": _NEXT,
        "dead_letters_max": _NEXT,
        "published_max": _NEXT,
        "trim_every_s": "within seconds",
        "keep_s": _NEXT,
    },
    "history": {
        "max_pending": "at once; what waits stays",
        "flush_interval_s": "from the next batch on",
        "sample_interval_s": "within a second",
        "sampled_workers": "from the next sample on",
    },
    "shadow": {
        "policies": "from the next decision on; what was compared of those that stay is kept",
        "loop_share": "from the next slice on",
        "kept": "at once: of too many the last ones stay",
    },
    "alerts": {
        **dict.fromkeys(("off", "threshold", "clear_threshold", "for_s", "clear_after_s"), "at the next look"),
        "interval_s": "after the next look",
    },
}  # fmt: skip

_RESTART: dict[str, tuple[str, ...]] = {
    "server": (
        "listen", "allow_plaintext", "max_connections", "max_streams_per_connection", "max_message_bytes",
        "max_metadata_bytes", "keepalive_s", "keepalive_timeout_s",
    ),
    "tls": ("cert_file", "key_file", "client_ca_file"),
    "access": ("file",),
    "limits": ("apply",),
    "storage": ("snapshot_url", "snapshot_prefix", "snapshot_timeout_s"),
    "log": ("format",),
    "metrics": ("listen", "otlp_endpoint", "otlp_headers", "otlp_ca_file", "otlp_timeout_s"),
    "traces": ("otlp_endpoint", "otlp_headers", "otlp_ca_file", "otlp_timeout_s", "max_queued"),
    "health": ("restart_grace_s",),
    "dispatch": (
        "url", "streams", "group", "consumer", "hand_over", "channel", "claim_after_s", "dead_letters", "decisions",
        "outcomes", "timeout_s",
    ),
    "history": (
        "enabled", "url", "keep_days", "figures_keep_days", "audit_keep_days", "most_mib", "timeout_s",
        "learn_at_start", "learn_at_start_most", "learn_at_start_s",
    ),
    "alerts": ("window_s",),
}  # fmt: skip


def _paths(section: str, names: Iterator[str]) -> Iterator[str]:
    return (f"{section}.{name}" if section else name for name in names)


LIVE: dict[str, str] = {
    path: said
    for section, settings in _LIVE.items()
    for path, said in zip(_paths(section, iter(settings)), settings.values(), strict=True)
}
"""What takes effect while the server runs, and when."""

RESTART: frozenset[str] = frozenset(
    path for section, names in _RESTART.items() for path in _paths(section, iter(names))
)
"""What waits for the next start."""

FIXED: dict[str, str] = {
    "storage.state_folder": "cannot be changed at run time: changes are kept in this very folder; use file, environment"
    " or flag"
}
"""What cannot be changed at run time at all, and why."""


def needs_restart(path: str) -> bool:
    """Does a change of this setting wait for the next start?"""
    return path not in LIVE


def markdown() -> str:
    """The table of docs/configuration.md."""
    rows = list(LIVE.items())
    rows += [(path, "after a restart") for path in RESTART]
    rows += [(path, "not at run time") for path in FIXED]
    lines = [f"| `{path}` | {said} |" for path, said in sorted(rows)]
    return "\n".join(["| setting | a change takes effect |", "|---|---|", *lines]) + "\n"
