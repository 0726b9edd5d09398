"""`barstorm keys`, and `barstorm serve` on addresses that others can reach."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from workers.accounts import audit
from workers.cli import main
from workers.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, sqlite_url: str, tmp_path: Path) -> None:
    for name, value in Settings(data_dir=str(tmp_path), database_url=sqlite_url, log_level="error").to_env().items():
        monkeypatch.setenv(name, value)


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, after success."""
    assert main.main(arguments) == 0
    return capsys.readouterr().out


def test_keys_are_created_listed_rotated_and_deleted(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no keys" in output(capsys, "keys", "list")
    created = output(capsys, "keys", "create", "notebook", "--owner", "anna", "--scope", "read", "--days", "1.5")
    (secret,) = re.findall(r"^bst_\S{56}$", created, re.MULTILINE)
    key_id = created.split()[0]
    rotated = output(capsys, "keys", "rotate", key_id, "--grace", "60")
    assert secret not in rotated
    listed = output(capsys, "keys", "list")
    assert len(listed.splitlines()) == 2
    assert all("read   owner 'anna'  ends " in line and "notebook" in line for line in listed.splitlines())
    assert secret not in listed
    assert "deleted" in output(capsys, "keys", "delete", key_id)
    assert len(output(capsys, "keys", "list").splitlines()) == 1


def test_a_new_key_is_shown_before_it_is_audited(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "record", interrupted)
    assert main.main(("keys", "create", "notebook")) == 130
    assert re.search(r"^bst_\S{56}$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", ""), "name"),
        (("create", "x", "--owner", "a\nb"), "owner"),
        (("create", "x", "--days", "-1"), "has passed"),
        (("create", "x", "--days", "inf"), "keys create"),
        (("rotate", "none"), "not found"),
        (("delete", "none"), "not found"),
    ],
)
def test_what_is_wrong_is_said(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    assert main.main(("keys", *arguments)) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "api"])
def test_without_a_key_an_address_that_others_can_reach_is_refused(command: str) -> None:
    arguments = [sys.executable, "-m", "workers.cli.main", command, "--host", "0.0.0.0", "--port", "0"]
    refused = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    for text in ("there is no API key", "barstorm keys create", "--insecure"):
        assert text in refused.stderr
