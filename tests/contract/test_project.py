"""The files that describe the project agree with each other."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    import python_core

    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert python_core.__version__ == version("barstorm") == cargo


def test_the_makefile_explains_each_of_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE) == phony[1].split()


def test_no_lock_is_behind_the_project() -> None:
    """Every direct dependency is in its lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    service = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["service"]]
    build_tools = project["dependency-groups"]["build"]
    tools = [item for item in project["dependency-groups"]["dev"] if isinstance(item, str)]
    for lock, wanted in {"service": service, "build": build_tools, "dev": [*service, *build_tools, *tools]}.items():
        text = (ROOT / "requirements" / f"{lock}.lock").read_text()
        locked = set(re.findall(r"^([a-z0-9-]+)(?:\[\w+\])?==", text, re.MULTILINE))
        direct = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0].replace(".", "-") for requirement in wanted}
        assert direct <= locked, f"requirements/{lock}.lock lacks {sorted(direct - locked)}: run `make lock`"
