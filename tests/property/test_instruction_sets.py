"""The compiled engine gives the reference's bits on older instruction sets, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import python_core as bt
from tests.support.cases import CASES

HERE = Path(__file__).parent


@pytest.mark.skipif(bt.engine != "rust", reason=f"no compiled engine: {bt.engine_reason}")
@pytest.mark.parametrize("instruction_set", ["baseline", "avx2"])
def test_engines_agree_on_older_instruction_sets(instruction_set: str) -> None:
    files = ["test_engines.py", "test_indicators.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "both_engines or sweep", *files]
    environment = os.environ | {"BARSTORM_SIMD": instruction_set, "BARSTORM_CASES": str(max(1, min(CASES // 5, 100)))}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
