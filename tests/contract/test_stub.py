"""The compiled module and its stub have the same names, classes, arguments and defaults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import python_core as bt

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(bt.engine != "rust", reason=bt.engine_reason)
def test_the_stub_of_the_compiled_module_agrees_with_it(tmp_path: Path) -> None:
    # Types, which are not compared, need not be known; reading NumPy's would take most of the time.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nfollow_imports = skip\ndisable_error_code = valid-type\n")
    command = [sys.executable, "-m", "mypy.stubtest", "python_core._core_rs", "--mypy-config-file", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
