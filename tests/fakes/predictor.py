"""A predictor that knows nothing and learns nothing: tests add the part that they are about."""

from scheduler_server.simulation.oracle import Blank


class KnowsNothing(Blank):
    """All of `Predictor` but `predict`."""

    name = "knows nothing"
