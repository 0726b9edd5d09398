"""A build gives one wheel: with the compiled kernel if Rust is available, otherwise without it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("api", "python_core", "workers")
BUILD = "import sys, build_backend; print(getattr(build_backend, 'build_' + sys.argv[1])(sys.argv[2]))"


def build(kind: str, out: Path, root: Path = ROOT, **environment: str) -> tuple[Path, str]:
    """Build with our backend; returns the file and the messages."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(out)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "core_rs"), **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return out / done.stdout.splitlines()[-1], done.stderr


def path_with(folder: Path, *, cargo: str | None = None) -> str:
    """A PATH without cargo, or with a cargo that is this shell script."""
    if cargo:
        (folder / "cargo").write_text(f"#!/bin/sh\n{cargo}\n")
        (folder / "cargo").chmod(0o755)
    return str(folder)


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def sources() -> set[str]:
    """Every file of the packages that belongs in a wheel."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="session")
def pure(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The wheel built without cargo, and the messages."""
    return build("wheel", tmp_path_factory.mktemp("pure"), PATH=path_with(tmp_path_factory.mktemp("path")), BARSTORM_KERNEL="auto")


def test_without_cargo_a_pure_wheel_is_built_with_a_one_line_warning(pure: tuple[Path, str]) -> None:
    wheel, said = pure
    assert wheel.name.endswith("-py3-none-any.whl")
    assert said == "warning: cargo was not found: installing the slower pure-Python kernel\n"


def test_the_pure_wheel_holds_every_file_of_the_three_packages_and_no_compiled_module(pure: tuple[Path, str]) -> None:
    held = {name for name in names(pure[0]) if ".dist-info/" not in name}
    assert held == sources()
    assert {name.split("/")[0] for name in held} == set(PACKAGES)


def test_a_wheel_from_the_sdist_is_the_same(pure: tuple[Path, str], tmp_path: Path) -> None:
    sdist, _ = build("sdist", tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert (root / "Cargo.lock").is_file()
    wheel, _ = build("wheel", tmp_path, root, BARSTORM_KERNEL="python")
    assert names(wheel) == names(pure[0])


def test_an_unreachable_crate_registry_falls_back_and_gives_cargos_reason(tmp_path: Path) -> None:
    offline = path_with(tmp_path, cargo="[ $1 = fetch ] || exit 0; echo 'error: failed to download from `registry`' >&2; exit 101")
    wheel, said = build("wheel", tmp_path, PATH=offline, BARSTORM_KERNEL="auto")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert said.splitlines() == [
        "warning: cargo could not fetch its crates (error: failed to download from `registry`): installing the slower pure-Python kernel"
    ]


def test_an_outdated_cargo_falls_back_with_a_warning(tmp_path: Path) -> None:
    wheel, said = build(
        "wheel", tmp_path, PATH=path_with(tmp_path, cargo="echo 'cargo 1.70.0 (ec8a8a0ca 2023-04-25)'"), BARSTORM_KERNEL="auto"
    )
    assert wheel.name.endswith("-py3-none-any.whl")
    assert re.fullmatch(r"warning: cargo 1\.70 is older than [\d.]+: installing the slower pure-Python kernel\n", said)


def test_requiring_the_compiled_kernel_fails_without_cargo(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="BARSTORM_KERNEL=rust, but cargo was not found"):
        build("wheel", tmp_path, PATH=path_with(tmp_path), BARSTORM_KERNEL="rust")


def test_an_unknown_kernel_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="BARSTORM_KERNEL is 'fast'; use auto, rust or python"):
        build("wheel", tmp_path, BARSTORM_KERNEL="fast")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The wheel with the compiled kernel, and the messages. This build takes minutes, so all tests share it."""
    return build("wheel", tmp_path_factory.mktemp("compiled"), BARSTORM_KERNEL="rust")


@pytest.mark.skipif(not list((ROOT / "python_core").glob("_core_rs.*.so")), reason="installed without the compiled kernel")
def test_the_compiled_wheel_is_the_pure_one_and_the_module_for_every_later_python(compiled: tuple[Path, str]) -> None:
    wheel, said = compiled
    assert re.search(r"-cp311-abi3-\w+\.whl$", wheel.name), wheel.name
    assert "warning" not in said
    held = {name for name in names(wheel) if ".dist-info/" not in name}
    assert held - sources() == {"python_core/_core_rs.abi3.so"}
    assert sources() <= held
