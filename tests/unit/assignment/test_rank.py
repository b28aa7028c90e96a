"""The index of positions, against sorting."""

from random import Random

import numpy as np
import pytest

from scheduler_server.assignment.rank import Among, RankIndex

CLASSES = 20


def plain(entries: dict[tuple[float, int], tuple[int, float]], key: tuple[float, int], weights: list[float],
          works: list[float]) -> tuple[float, float]:  # fmt: skip
    ahead = [entry for other, entry in entries.items() if other < key]
    return sum(weights[each] for each, _ in ahead), sum(works[each] * work for each, work in ahead)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_ahead_of_any_key_is_what_sorting_says(seed: int) -> None:
    chance = Random(seed)
    index = RankIndex()
    entries: dict[tuple[float, int], tuple[int, float]] = {}
    number = 0
    for phase, grow in enumerate((0.9, 0.5, 0.05, 0.6)):  # up, level, down to nothing, up again
        for _ in range(3_000):
            if chance.random() < grow or not entries:
                number += 1
                key = (round(chance.gauss(phase, 1.0), 1) if chance.random() < 0.9 else number, number)
                entry = chance.randrange(CLASSES), chance.random()
                index.add(key, *entry)
                entries[key] = entry
            else:
                key = chance.choice(list(entries)) if chance.random() < 0.3 else next(iter(entries))
                index.remove(key)
                del entries[key]
        assert len(index) == len(entries)
        weights = [chance.choice((0.0, 1.0)) for _ in range(CLASSES)]
        works = [each * (chance.random() or 1.0) for each in weights]
        keys = [*chance.sample(list(entries), min(40, len(entries))), (-99.0, 0), (1e9, 0), (0.0, number // 2)]
        for key in keys:
            count, work = index.ahead(key, Among.of(np.array(works)))
            wanted = plain(entries, key, weights, works)
            assert count == wanted[0]
            assert work == pytest.approx(wanted[1], abs=1e-6)


def test_removing_what_is_not_there_is_a_key_error() -> None:
    index = RankIndex()
    with pytest.raises(KeyError):
        index.remove((1.0, 1))
    index.add((1.0, 1), 0, 1.0)
    for key in ((0.5, 1), (1.0, 2), (2.0, 1)):
        with pytest.raises(KeyError):
            index.remove(key)
    index.remove((1.0, 1))
    assert len(index) == 0


def test_nothing_is_ahead_in_an_empty_index() -> None:
    assert RankIndex().ahead((1.0, 1), Among.of(np.ones(3))) == (0, 0.0)
