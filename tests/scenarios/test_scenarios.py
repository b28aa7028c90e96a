"""The scenarios of this folder happen as they say."""

from pathlib import Path

import pytest

from tests.scenarios.runner import run

SCENARIOS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_happens_as_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    happened = run(text)
    if request.config.getoption("--rewrite-scenarios", default=False):
        path.write_text(happened)
    else:
        assert happened == text


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 12
