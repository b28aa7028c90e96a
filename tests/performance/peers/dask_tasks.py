"""The one task of Dask, importable by its workers, so that it is sent by name and not as code."""


def noop(number: int) -> None:
    """What every task does; its argument only keeps tasks apart."""
