"""Making NamedTuples on the hot path."""

from typing import Any

make: Any = tuple.__new__
"""`make(Decision, (a, b, ...))`: a NamedTuple from all its fields in order, in 0.2 us where `Decision(a, b, ...)`,
which goes through a Python function, takes 0.5. Only where a decision, an outcome or a heartbeat passes: nothing checks
the number or the types of the fields, except the tests that compare with the ordinary constructor."""
