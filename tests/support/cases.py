"""How many cases a property generates; `BARSTORM_CASES` in the environment changes it."""

from __future__ import annotations

import os

CASES = int(os.environ.get("BARSTORM_CASES", "300"))
