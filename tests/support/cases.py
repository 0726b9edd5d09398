"""The number of cases that a property generates, from the environment variable `BARSTORM_CASES`."""

from __future__ import annotations

import os

CASES = int(os.environ.get("BARSTORM_CASES", "300"))
