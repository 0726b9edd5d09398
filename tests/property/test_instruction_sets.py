"""The compiled engine gives the reference's bits with fewer vector instructions, too, as on other machines."""

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
@pytest.mark.parametrize("instructions", ["baseline", "avx2"])
def test_engines_agree_with_fewer_instructions(instructions: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_engines.py", "test_indicators.py"]
    environment = os.environ | {"BARSTORM_SIMD": instructions, "BARSTORM_CASES": str(min(CASES, 100))}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
