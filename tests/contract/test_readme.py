"""The examples of the README, the contract and the page of strategies run on both engines, and the README's make targets exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import python_core as bt
from python_core.engine import compiled

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("engine", ["rust", "python"])
@pytest.mark.parametrize("page", ["README.md", "docs/contract.md", "docs/strategies.md"])
def test_its_examples_run(page: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "python":
        monkeypatch.setattr(compiled, "_core_rs", None)
    elif bt.engine != "rust":
        pytest.skip(bt.engine_reason)
    text = (ROOT / page).read_text()
    examples = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert examples
    # Later examples of a page may use what earlier ones define.
    names: dict[str, Any] = {}
    for example in examples:
        # Blank lines in front, so that an error names the line of the page.
        lines_before = text[: example.start(1)].count("\n")
        exec(compile("\n" * lines_before + example[1], page, "exec"), names)


def test_every_make_target_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
