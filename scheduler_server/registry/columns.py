"""Numpy columns whose single elements are read and written often."""

from collections.abc import MutableSequence
from typing import Any, TypeAlias

import numpy as np

Floats: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"


def elements(column: "np.ndarray[Any, Any]") -> MutableSequence[Any]:
    """The same memory, element by element: 40 ns a read or write through a memoryview, 70 through numpy."""
    view: Any = memoryview(column)  # type: ignore[arg-type] # numpy's arrays are buffers; its stubs do not say so
    return view  # type: ignore[no-any-return] # typeshed's memoryview takes ints only, whatever its format
