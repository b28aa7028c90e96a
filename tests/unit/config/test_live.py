"""What is changed while a server runs lies over what was loaded, and comes back after a restart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.config import ConfigError, load
from scheduler_server.config.live import LiveConfig
from scheduler_server.config.origin import Source
from scheduler_server.config.revisions import MOST_KEPT, History, Revision
from scheduler_server.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Two that go together."""

    low: float = setting(1.0, "lower", minimum=0, maximum=100)
    high: float = setting(10.0, "upper", minimum=0, maximum=100)
    names: dict[str, float] = setting({}, "by name")
    secret: str = setting("", "a secret", secret=True)

    def faults(self) -> Any:
        """The order."""
        if self.high < self.low:
            yield "high", f"must not be below low ({self.low:g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All."""

    profile: str = setting("", "profile")
    port: int = setting(1, "needs a restart", minimum=0, maximum=10)
    folder: str = setting("here", "fixed")
    limits: Limits = field(default_factory=Limits)


PROFILES: dict[str, dict[str, object]] = {"wide": {"limits.high": 90.0}}


def live(argv: list[str] | None = None, **environment: str) -> LiveConfig[Schema]:
    loaded = load(Schema, argv or [], environment, profiles=PROFILES)
    return LiveConfig(
        loaded, needs_restart=lambda path: path in {"port", "folder"}, fixed={"folder": "cannot be changed here"}
    )


def begun(
    argv: list[str] | None = None, kept: History | None = None, at: float = 1.0, **more: Any
) -> LiveConfig[Schema]:
    config = live(argv)
    config.begin(kept, at, **more)
    return config


def change(config: LiveConfig[Schema], values: Mapping[str, object], back: tuple[str, ...] = ()) -> None:
    proposal = config.propose(values, back)
    config.adopt(proposal, config.recorded(proposal, config.revision + 1, 2.0, "ann", "why"))


def again(config: LiveConfig[Schema], argv: list[str] | None = None, **more: Any) -> LiveConfig[Schema]:
    """The same after a restart."""
    return begun(argv, History.from_records(config.history.records()), 5.0, **more)


def faults(config: LiveConfig[Schema], values: Mapping[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        config.propose(values)
    return [str(fault) for fault in raised.value.faults]


def test_a_change_lies_over_flags_and_says_in_which_revision_it_was_made() -> None:
    config = begun(["--limits-low", "3"])
    change(config, {"limits.low": 4})
    assert config.running.limits.low == 4.0
    assert config.origin("limits.low").source is Source.UPDATE
    assert config.origin("limits.low").name == "revision 2"
    assert config.origin("limits.high").source is Source.DEFAULT


def test_a_change_taken_back_leaves_what_was_loaded() -> None:
    config = begun(["--limits-low", "3"])
    change(config, {"limits.low": 4})
    change(config, {}, back=("limits.low",))
    assert config.running.limits.low == 3.0
    assert config.origin("limits.low").source is Source.FLAG


def test_settings_are_checked_together_and_nothing_is_changed_by_what_is_refused() -> None:
    config = begun()
    assert faults(config, {"limits.low": 11}) == ["limits.high: must not be below low (11) (got 10.0, from default)"]
    assert faults(config, {"limits.low": 101, "port": "x", "nope": 1}) == ["nope: unknown setting"]
    assert len(faults(config, {"limits.low": 101, "port": "x"})) == 2
    assert faults(config, {"folder": "there"}) == ["folder: cannot be changed here"]
    assert faults(config, {"limits.low": float("nan")})
    assert config.running == Schema()
    assert config.revision == 1


def test_a_secret_that_is_refused_is_not_repeated() -> None:
    assert "hush" not in "".join(faults(begun(), {"limits.secret": ["hush"]}))


def test_what_needs_a_restart_waits_for_it_and_is_there_after_it() -> None:
    config = begun()
    change(config, {"port": 2, "limits.low": 2})
    assert (config.running.port, config.wanted.config.port, config.running.limits.low) == (1, 2, 2.0)
    assert config.awaiting_restart == ["port"]
    after = again(config)
    assert (after.running.port, after.awaiting_restart) == (2, [])


def test_going_back_to_what_runs_needs_no_restart() -> None:
    config = begun()
    change(config, {"port": 2})
    assert config.propose({"port": 3}).restart == ("port",)
    assert config.propose({"port": 1}).restart == ()


def test_the_profile_can_be_changed_and_what_it_sets_changes_with_it() -> None:
    config = begun()
    change(config, {"profile": "wide"})
    assert config.running.limits.high == 90.0
    assert config.origin("limits.high").source is Source.PROFILE
    assert {each.path for each in config.history.newest.changes} == {"profile", "limits.high"}  # type: ignore[union-attr]


def test_asking_for_what_is_so_changes_nothing_and_pins_nothing() -> None:
    config = begun(["--limits-low", "3"])
    proposal = config.propose({"limits.low": 3})
    assert (proposal.changes, dict(proposal.overlay)) == ((), {})


def test_changes_hold_over_a_restart_with_another_file_and_the_restart_makes_a_revision_where_anything_differs() -> (
    None
):
    config = begun(["--limits-low", "3"])
    change(config, {"limits.low": 4})
    assert again(config, ["--limits-low", "3"]).revision == 2
    after = again(config, ["--limits-low", "5", "--limits-high", "20"])
    assert (after.running.limits.low, after.running.limits.high) == (4.0, 20.0)
    newest = after.history.newest
    assert newest is not None
    assert (newest.number, newest.author, [each.path for each in newest.changes]) == (3, "start", ["limits.high"])


def test_changes_that_no_longer_go_with_what_is_loaded_are_left_out_and_told() -> None:
    config = begun()
    change(config, {"limits.low": 8})
    after = again(config, ["--limits-high", "5"])
    assert (after.running.limits.low, dict(after.overlay)) == (1.0, {})
    assert "left out" in after.notes[0]
    assert after.history.find(2) is not None
    assert after.revision == 3


def test_a_change_of_a_setting_that_this_version_has_not_is_left_out_alone() -> None:
    config = begun()
    change(config, {"limits.low": 8})
    newest = config.history.newest
    assert newest is not None
    odd = Revision(number=9, at=1.0, author="a", overlay={**newest.overlay, "gone.since": 1})
    after = begun(kept=config.history.with_next(config.history.values, odd), at=5.0)
    assert (after.running.limits.low, dict(after.overlay)) == (8.0, {"limits.low": 8.0})
    assert "gone.since" in after.notes[0]


def test_changes_can_be_ignored_at_a_start_and_rolled_back_to_later() -> None:
    config = begun()
    change(config, {"limits.low": 8})
    after = again(config, ignore="as asked")
    assert (after.running.limits.low, after.revision, after.notes) == (1.0, 3, ("as asked",))
    proposal = after.propose_back_to(2)
    assert proposal is not None
    assert proposal.running.limits.low == 8.0


def test_numbers_only_grow_even_where_the_newest_revisions_were_lost() -> None:
    assert begun(at=1_700_000_000.9, lost=["damaged"]).revision == 1_700_000_000
    config = begun()
    change(config, {"limits.low": 8})
    assert again(config, lost=["damaged"]).revision == 5  # at 5 s; more than 3


def test_going_back_takes_up_what_was_loaded_then() -> None:
    config = begun(["--limits-low", "3"])
    change(config, {"limits.high": 30})
    after = again(config, ["--limits-low", "4"])
    proposal = after.propose_back_to(2)
    assert proposal is not None
    assert (proposal.running.limits.low, proposal.running.limits.high) == (3.0, 30.0)
    assert after.propose_back_to(99) is None


def test_a_secret_is_kept_where_it_was_changed_and_nowhere_else() -> None:
    config = begun(["--limits-secret", "from-a-flag"])
    assert b"from-a-flag" not in b"".join(config.history.records())
    change(config, {"limits.secret": "changed"})
    assert [(each.before, each.after) for each in config.history.newest.changes] == [(None, None)]  # type: ignore[union-attr]
    assert again(config).running.limits.secret == "changed"


_TWO = Revision(number=2, at=1.0, author="a").to_bytes()


@pytest.mark.parametrize(
    "records",
    [
        [b"{}", _TWO],
        [b"[1]"],
        [b'{"values":{}}'],
        [b'{"values":{}}', b'{"revision":0}'],
        [b'{"values":{}}', _TWO, _TWO],
        [b'{"values":{}}', _TWO.replace(b'"at":1.0', b'"at":1e999')],
        [b"not json"],
    ],
)
def test_what_makes_no_sense_is_no_history(records: list[bytes]) -> None:
    with pytest.raises(ValueError, match="no history of a configuration"):
        History.from_records(records)


def test_the_newest_thousand_revisions_are_kept() -> None:
    history = History({"x": 0})
    for number in range(1, MOST_KEPT + 3):
        history = history.with_next({"x": number}, Revision(number=number, at=1.0, author="a"))
    assert [each.number for each in history][:: MOST_KEPT - 1] == [3, MOST_KEPT + 2]
    assert len(history.records()) == MOST_KEPT + 1
    assert history.find(2) is None


_CHANGE = st.dictionaries(
    st.sampled_from(["limits.low", "limits.high", "port", "limits.names"]),
    st.one_of(st.integers(0, 10), st.dictionaries(st.sampled_from("ab"), st.integers(0, 3))),
    min_size=1,
)


@given(
    st.lists(st.tuples(_CHANGE, st.sets(st.sampled_from(["limits.low", "limits.high"])), st.booleans()), max_size=12)
)
def test_every_revision_is_found_again_as_it_was(steps: list[tuple[dict[str, object], set[str], bool]]) -> None:
    config = begun()
    seen = {config.revision: dict(config.history.values)}
    for values, back, restarted in steps:
        try:
            change(config, {name: value for name, value in values.items() if name not in back}, tuple(back))
        except ConfigError:
            continue
        if restarted:
            config = again(config)
        assert config.revision > max(seen)
        seen[config.revision] = dict(config.history.values)
    for number, values in seen.items():
        assert config.history.values_at(number) == values
        proposal = config.propose_back_to(number)
        assert proposal is not None
        assert dict(proposal.values) == values
