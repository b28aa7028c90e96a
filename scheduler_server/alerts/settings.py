"""Settings of the alerts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import isfinite

from scheduler_server.alerts.rule import Rule
from scheduler_server.alerts.rules import BY_NAME, RULES
from scheduler_server.model.setting import setting

_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What is watched, and when it is told. Rules and their defaults: docs/alerts.md."""

    interval_s: float = setting(5.0, "how often the rules are looked at; 0: never", unit="s", minimum=0, maximum=3_600)
    off: tuple[str, ...] = setting((), "rules that are not looked at")
    threshold: dict[str, float] = setting(
        {}, "by rule, what raises it, in the rule's unit; docs/alerts.md has the defaults"
    )
    clear_threshold: dict[str, float] = setting(
        {}, "by rule, what clears it; where only the threshold is set, as far from it in proportion as by default"
    )
    for_s: dict[str, float] = setting({}, "by rule, how long it has to last before it is raised", unit="s")
    clear_after_s: float = setting(
        30.0, "how long a raised one has to be well before it is cleared", unit="s", minimum=0, maximum=_LONGEST_S
    )
    window_s: float = setting(
        300.0, "what is meant by lately, for rules that count", unit="s", minimum=1, maximum=_LONGEST_S
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """Rules that do not exist, and limits that cannot be, as (field, message)."""
        for name in self.off:
            if name not in BY_NAME:
                yield "off", _unknown(name)
        faulty = set()
        for field, given in self._given().items():
            for name, value in given.items():
                rule = BY_NAME.get(name)
                if rule is None:
                    yield field, _unknown(name)
                    continue
                most = _LONGEST_S if field == "for_s" else rule.most
                if not (isfinite(value) and 0 <= value <= most):
                    faulty.add(name)
                    yield field, f"{name} must be 0 to {most:g} (got {value:g})"
        for rule in RULES:
            own = self._own(rule)
            if not own.in_order and rule.name not in faulty:
                side = "above" if rule.less_is_worse else "below"
                yield (
                    "clear_threshold",
                    f"{rule.name} must be {side} its threshold, {own.threshold:g} (is {own.clear_threshold:g})",
                )

    def rules(self) -> tuple[Rule, ...]:
        """The rules that are on, with their limits."""
        return tuple(self._own(rule) for rule in RULES if rule.name not in self.off)

    def _given(self) -> Mapping[str, Mapping[str, float]]:
        return {"threshold": self.threshold, "clear_threshold": self.clear_threshold, "for_s": self.for_s}

    def _own(self, rule: Rule) -> Rule:
        threshold = self.threshold.get(rule.name, rule.threshold)
        if rule.threshold:
            clear = rule.clear_threshold * (threshold / rule.threshold)
        else:
            clear = rule.clear_threshold + threshold
        return replace(
            rule,
            threshold=threshold,
            clear_threshold=self.clear_threshold.get(rule.name, min(clear, rule.most)),
            for_s=self.for_s.get(rule.name, rule.for_s),
        )


def _unknown(name: str) -> str:
    near = get_close_matches(name, BY_NAME, n=3, cutoff=0.5)
    return f"there is no rule {name!r}; " + (
        f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(BY_NAME)}"
    )
