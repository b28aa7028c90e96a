import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scenarios",
        action="store_true",
        help="write what happened into tests/scenarios/*.txt; commit only a difference that you can explain",
    )
