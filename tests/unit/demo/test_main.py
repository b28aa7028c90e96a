import pytest

from scheduler_server.demo.main import main


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--tasks=19", "--tasks: from 20 to 5000"),
        ("--tasks=5001", "--tasks: from 20 to 5000"),
        ("--seconds=3.9", "--seconds: from 4 to 600"),
        ("--seconds=601", "--seconds: from 4 to 600"),
        ("--seconds=nan", "--seconds: from 4 to 600"),
        ("--tasks=751", "--tasks: at most 25 per second"),
        ("--seed=x", "--seed"),
        ("--queue=kafka", "--queue"),
        ("--other", "--other"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(argument: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([argument])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--queue", "--seed", "--tasks", "--seconds"))
