"""The states of all alerts: what a look at the figures makes of them."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from math import isfinite
from typing import Annotated, Any, NamedTuple

import msgspec

from scheduler_server.alerts.rule import AlertState, Rule
from scheduler_server.model.clock import Now

MOST_SUBJECTS = 100
"""Alerts of one rule that are told apart; the worst come first. Whoever has a hundred of them has one problem, not a
hundred, and further ones are counted."""

CLEARED_KEPT = 1_000
"""Alerts that are over and can still be listed; the one cleared longest ago goes first."""

ALERT = "alert"
"""The part of a snapshot that a record of `state` is."""

_Text = Annotated[str, msgspec.Meta(max_length=4_096)]


class Measured(NamedTuple):
    """A rule's figure now: in the rule's unit, in words, and whose. A figure that is not finite is none."""

    value: float
    detail: str
    subject: str = ""


class Alert:
    """One alert, from its first sign to its end.

    `since`, `raised_at` and `cleared_at` are wall seconds, None where that has not come. `seen_at` and `well_at` are
    monotonic: the first sign, and when the figure came back, None while it has not.
    """

    __slots__ = (
        "alert_id", "cleared_at", "detail", "raised_at", "rule", "seen_at", "since", "state", "subject", "value",
        "well_at",
    )  # fmt: skip

    def __init__(self, alert_id: str, rule: Rule, now: Now, found: Measured) -> None:
        self.alert_id = alert_id
        self.rule = rule
        self.subject = found.subject
        self.state = AlertState.PENDING
        self.value = found.value
        self.detail = found.detail
        self.since = now.wall
        self.seen_at = now.monotonic
        self.well_at: float | None = None
        self.raised_at: float | None = None
        self.cleared_at: float | None = None

    def __repr__(self) -> str:
        return f"<alert {self.alert_id} {self.rule.name} {self.subject!r} {self.state.name}>"


class _Kept(msgspec.Struct):
    """An alert as a snapshot has it."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    rule: str
    subject: _Text
    value: float
    detail: _Text
    since: float
    seen_for_s: Annotated[float, msgspec.Meta(ge=0.0)]
    raised_at: float | None


class Board:
    """All alerts of one server.

    Invariants: `live` has, by rule and subject, exactly those that are pending or raised, at most MOST_SUBJECTS of a
    rule; `cleared` those that were raised and are over, in the order of their end. An id is never used twice.
    """

    def __init__(self, rules: Iterable[Rule], incarnation: str, clear_after_s: float) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self.live: dict[str, dict[str, Alert]] = {name: {} for name in self.rules}
        self.cleared: deque[Alert] = deque(maxlen=CLEARED_KEPT)
        self.left_out: Counter[str] = Counter()  # signs that had no room, by rule, over all looks
        self._clear_after_s = clear_after_s
        self._incarnation = incarnation
        self._numbers = count(1)

    def reconfigure(self, rules: Iterable[Rule], clear_after_s: float) -> None:
        """Go by these rules from the next look on; alerts of a rule that is off now are forgotten."""
        self.rules = {rule.name: rule for rule in rules}
        self.live = {name: self.live.get(name, {}) for name in self.rules}
        for name, alerts in self.live.items():
            for alert in alerts.values():
                alert.rule = self.rules[name]
        self._clear_after_s = clear_after_s

    def look(self, now: Now, name: str, measured: Mapping[str, Measured]) -> list[Alert]:
        """What a rule's figures, by subject, change: alerts that are raised or cleared now.

        A subject without a figure is well: it is not there any more, or there is too little to judge by.
        """
        rule, alerts = self.rules[name], self.live[name]
        changed = [alert for alert in list(alerts.values()) if self._go_on(now, alert, measured.get(alert.subject))]
        first_signs = [found for found in measured.values() if found.subject not in alerts and rule.seen(found.value)]
        worst_first = 1.0 if rule.less_is_worse else -1.0
        first_signs.sort(key=lambda found: (worst_first * found.value, found.subject))
        room = MOST_SUBJECTS - len(alerts)
        self.left_out[name] += max(0, len(first_signs) - room)
        for found in first_signs[:room]:
            alert = Alert(f"a-{self._incarnation}-{next(self._numbers)}", rule, now, found)
            alerts[found.subject] = alert
            if self._lasted(now, alert):
                changed.append(alert)
        return changed

    def _go_on(self, now: Now, alert: Alert, found: Measured | None) -> bool:
        """What a figure changes about an alert that is live; was it raised or cleared?"""
        if found is not None and isfinite(found.value):
            alert.value, alert.detail = found.value, found.detail
            well = alert.rule.well(found.value)
        else:
            well = True
        if not well:
            alert.well_at = None
            # Between the limits it goes on as a sign, but what is raised has to be as bad as the threshold says.
            seen = found is not None and alert.rule.seen(found.value)
            return alert.state is AlertState.PENDING and seen and self._lasted(now, alert)
        if alert.state is AlertState.PENDING:
            del self.live[alert.rule.name][alert.subject]
            return False
        if alert.well_at is None:
            alert.well_at = now.monotonic
        if now.monotonic - alert.well_at < self._clear_after_s:
            return False
        alert.state, alert.cleared_at = AlertState.CLEARED, now.wall
        del self.live[alert.rule.name][alert.subject]
        self.cleared.append(alert)
        return True

    def _lasted(self, now: Now, alert: Alert) -> bool:
        if now.monotonic - alert.seen_at < alert.rule.for_s:
            return False
        alert.state, alert.raised_at = AlertState.RAISED, now.wall
        return True

    # ------------------------------------------------------------------ what there is

    def alerts(self) -> Iterator[Alert]:
        """All that are kept, in no order."""
        for alerts in self.live.values():
            yield from alerts.values()
        yield from self.cleared

    def counts(self) -> Counter[tuple[str, AlertState]]:
        """Pending and raised ones, by rule."""
        return Counter((name, alert.state) for name, alerts in self.live.items() for alert in alerts.values())

    def raised(self) -> list[Alert]:
        """Those that are raised, by rule in the order of the rules, then by subject."""
        return [
            alerts[subject]
            for alerts in self.live.values()
            for subject in sorted(alerts)
            if alerts[subject].state is AlertState.RAISED
        ]

    # ------------------------------------------------------------------ across a restart

    def state(self, now: Now) -> Iterator[dict[str, Any]]:
        """One record per live alert. Those that are over are history, and are not kept over a restart."""
        for alert in [alert for alerts in self.live.values() for alert in alerts.values()]:
            yield {
                "part": ALERT,
                "id": alert.alert_id,
                "rule": alert.rule.name,
                "subject": alert.subject,
                "value": alert.value,
                "detail": alert.detail,
                "since": alert.since,
                "seen_for_s": now.monotonic - alert.seen_at,
                "raised_at": alert.raised_at,
            }

    def restore(self, record: Mapping[str, Any], now: Now) -> None:
        """Take one back with its id; ValueError where it makes no sense.

        It has lasted as long as it had then. A rule that is off now, and a subject that has an alert already, are
        passed over.
        """
        try:
            kept = msgspec.convert(record, _Kept, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"not an alert: {error}: {str(record)[:200]}") from None
        if not all(map(isfinite, (kept.value, kept.since, kept.seen_for_s, kept.raised_at or 0.0))):
            raise ValueError(f"not an alert: a number is not finite: {str(record)[:200]}")
        alerts = self.live.get(kept.rule)
        if alerts is None or kept.subject in alerts or len(alerts) >= MOST_SUBJECTS:
            return
        alert = Alert(kept.id, self.rules[kept.rule], now, Measured(kept.value, kept.detail, kept.subject))
        alert.since, alert.seen_at = kept.since, now.monotonic - kept.seen_for_s
        if kept.raised_at is not None:
            alert.state, alert.raised_at = AlertState.RAISED, kept.raised_at
        alerts[alert.subject] = alert
