"""The instrument of the server's own alerts."""

from scheduler_server.alerts.rule import AlertState
from scheduler_server.alerts.rules import RULES
from scheduler_server.telemetry.instrument import Instrument, Kind, label

LIVE = (AlertState.PENDING, AlertState.RAISED)

ROWS = (
    Instrument(
        "scheduler.alerts",
        Kind.UP_DOWN_COUNTER,
        "{alert}",
        "alerts of the server's own rules, by where they stand; docs/alerts.md has the rules, ListAlerts the subjects",
        (
            label("rule", [rule.name for rule in RULES]),
            label("severity", sorted({rule.severity for rule in RULES})),
            label("state", LIVE),
        ),
    ),
)
