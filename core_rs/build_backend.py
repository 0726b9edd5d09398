"""Build with maturin if Rust is available, otherwise with hatchling.

`BARSTORM_KERNEL` chooses: `rust` requires the compiled kernel, `python` leaves it out,
`auto` (the default) compiles it if cargo is installed and can fetch the crates.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import hatchling.build

ROOT = Path(__file__).resolve().parent.parent
Config = dict[str, Any] | None


def _why_no_rust() -> str | None:
    if shutil.which("cargo") is None:
        return "cargo was not found"
    needed = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    version = subprocess.run(["cargo", "--version"], cwd=ROOT, capture_output=True, text=True).stdout
    if (found := re.match(r"cargo (\d+)\.(\d+)", version)) and tuple(map(int, found.groups())) < tuple(map(int, needed.split("."))):
        return f"cargo {found[1]}.{found[2]} is older than {needed}"
    # By default cargo retries for minutes if its registry does not answer.
    # Not --locked: a stale lock must fail the build, not look like a missing network.
    fetch = subprocess.run(
        ["cargo", "fetch", "--manifest-path", str(ROOT / "Cargo.toml")],
        env={"CARGO_HTTP_TIMEOUT": "20", **os.environ, "CARGO_NET_RETRY": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if fetch.returncode:
        reasons = [line for line in fetch.stderr.splitlines() if line.startswith("error")]
        return f"cargo could not fetch its crates ({(reasons or ['no reason given'])[0]})"
    return None


@functools.cache
def _compiled() -> bool:
    mode = os.environ.get("BARSTORM_KERNEL", "auto")
    if mode not in ("auto", "rust", "python"):
        raise SystemExit(f"BARSTORM_KERNEL is {mode!r}; use auto, rust or python")
    if mode == "python":
        return False
    reason = _why_no_rust()
    if reason and mode == "rust":
        raise SystemExit(f"BARSTORM_KERNEL=rust, but {reason}")
    if reason:
        print(f"warning: {reason}: installing the slower pure-Python kernel", file=sys.stderr)
        return False
    # maturin runs itself by name, which without build isolation fails in an environment that is not activated.
    os.environ["PATH"] += os.pathsep + sysconfig.get_path("scripts")
    return True


def get_requires_for_build_wheel(config: Config = None) -> list[str]:
    return ["maturin>=1.16,<2"] if _compiled() else []


def get_requires_for_build_editable(config: Config = None) -> list[str]:
    if _compiled():
        return ["maturin>=1.16,<2"]
    return list(hatchling.build.get_requires_for_build_editable(config))


def build_wheel(directory: str, config: Config = None, metadata: str | None = None) -> str:
    if not _compiled():
        return str(hatchling.build.build_wheel(directory, config, metadata))
    import maturin

    return str(maturin.build_wheel(directory, config, metadata))


def build_editable(directory: str, config: Config = None, metadata: str | None = None) -> str:
    if not _compiled():
        for stale in (ROOT / "python_core").glob("_core_rs.*"):
            if stale.suffix in (".so", ".pyd"):  # the stub stays
                stale.unlink()
        return str(hatchling.build.build_editable(directory, config, metadata))
    import maturin

    return str(maturin.build_editable(directory, config, metadata))


def build_sdist(directory: str, config: Config = None) -> str:
    return str(hatchling.build.build_sdist(directory, config))
