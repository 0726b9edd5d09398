"""NumPy's scalars as Python's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """A scalar of NumPy (a number, boolean or text) as the Python value that it equals; anything else unchanged."""
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "biufU" else value
