import pytest

from scheduler_server.worker.profile import Profile


@pytest.mark.parametrize("slots", [1, 2, 9_999, 10_000])
def test_one_to_ten_thousand_slots_are_registered(slots: int) -> None:
    assert Profile(slots=slots).registration().max_concurrent_tasks == slots


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"slots": 0}, "slots"),
        ({"slots": 10_001}, "slots"),
        ({"prefetch": -1}, "prefetch"),
        ({"prefetch": 10_001}, "prefetch"),
        ({"worker_id": "w" * 257}, "worker_id"),
        ({"worker_id": "w\n1"}, "worker_id"),
        ({"worker_id": "w\udcff"}, "worker_id"),
        ({"node": "n" * 257}, "node"),
        ({"worker_type": "\x00"}, "worker_type"),
        ({"capabilities": "gpu"}, "capabilities"),
        ({"capabilities": [""]}, "capabilities"),
        ({"capabilities": [str(number) for number in range(65)]}, "capabilities"),
        ({"specializations": ["\x7f"]}, "specializations"),
        ({"labels": {"zone": ""}}, "labels"),
        ({"labels": {"": "a"}}, "labels"),
        ({"labels": {str(number): "x" for number in range(65)}}, "labels"),
    ],
)
def test_what_the_server_would_refuse_is_refused_here_by_its_name(settings: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        Profile(**settings)  # type: ignore[arg-type] # faulty on purpose


def test_the_largest_allowed_values_pass() -> None:
    names = ["n" * 256 + ""] + [str(number) for number in range(63)]
    Profile(worker_id="w" * 256, capabilities=names, labels=dict.fromkeys(names, "v" * 256), prefetch=10_000)


def test_a_change_is_a_new_revision_and_a_faulty_one_leaves_all_as_it_was() -> None:
    profile = Profile(slots=2, labels={"zone": "a"})
    profile.change(labels={"zone": "b"})
    assert (profile.revision, profile.labels, profile.slots) == (2, {"zone": "b"}, 2)
    with pytest.raises(ValueError, match="slots"):
        profile.change(labels={"zone": "c"}, slots=0)
    assert (profile.revision, profile.labels, profile.slots) == (2, {"zone": "b"}, 2)


def test_every_profile_has_a_boot_id_of_its_own_and_counts_connections_under_it() -> None:
    first, second = Profile(), Profile()
    assert first.boot_id != second.boot_id
    assert (first.epoch(3).boot_id, first.epoch(3).connection) == (first.boot_id, 3)
