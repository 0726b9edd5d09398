"""Packages that can't be installed beside ours run in environments of their own, which the first test makes and later ones find."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
INSTALL_S, RUN_S = 1_800, 900


def cache() -> Path:
    """The folder of the environments."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "barstorm" / "oracles"


def environment(requirement: str) -> Path:
    """The Python of an environment with one pinned package; skips the test if it can't be installed."""
    folder = cache() / f"{requirement.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", requirement],
        ):
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
            except (OSError, subprocess.SubprocessError) as error:
                said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
                pytest.skip(f"{requirement} can't be installed: {said[-1]}")
        complete.touch()
    return python


def run(requirement: str, script: str, jobs: list[dict[str, Any]]) -> Any:
    """What `script` of this folder prints for `jobs` in the environment of `requirement`, both JSON."""
    command = [str(environment(requirement)), "-W", "ignore", str(HERE / script)]
    done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
