"""The documentation refers only to files, functions and links that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
TOP = "|".join(("api", "workers", "python_core", "core_rs", "deploy", "tests", "docs", "benchmarks", "requirements"))
# `workers/runs/acceptance.py:accept` names a function or class in the file.
MENTION = re.compile(rf"`((?:{TOP})/[\w./-]*|[\w-]+\.(?:md|toml|lock))(?::(\w+))?`")
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([\w-]+))?\)")
DEFINITION = r"(?m)^\s*(?:pub )?(?:async )?(?:def|class|fn|struct|enum|const|static) {0}\b|^{0}: "


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_function_it_mentions_exists(page: Path) -> None:
    for path, name in MENTION.findall(page.read_text()):
        assert (ROOT / path).exists(), path
        assert not name or re.search(DEFINITION.format(name), (ROOT / path).read_text()), f"{path}:{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, heading in LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        headings = {
            re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in target.read_text().splitlines() if line[:1] == "#"
        }
        assert not heading or heading in headings, f"{path}#{heading}"
