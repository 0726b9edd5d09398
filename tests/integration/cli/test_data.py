"""`barstorm data`: market data on the command line, and the samples of a new service."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import python_core as bt
from workers.cli import main
from workers.data.samples import SAMPLES

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARSTORM_DATA_DIR", str(tmp_path / "data"))
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def command(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    code = main.main(["data", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_name_of_a_file_is_made_one_of_a_dataset(capsys: Captured, tmp_path: Path) -> None:
    file = tmp_path / "EUR,USD [2024].csv"
    bt.synthetic(50).to_polars().write_csv(file)
    assert "EUR-USD -2024-.csv@1" in command(capsys, "import", file)[1]
    code, _, problem = command(capsys, "import", file, "--name", "a/b")
    assert (code, "'a/b' is not a valid name; use 1 to 120 letters" in problem) == (1, True)


def test_a_file_is_imported_shown_appended_exported_and_deleted(capsys: Captured, tmp_path: Path) -> None:
    bars = bt.synthetic(3_000, timeframe="1m")
    frame = bars.to_polars()
    frame[:2_000].write_csv(tmp_path / "bars.csv")
    frame[1_500:].write_parquet(tmp_path / "more.parquet")
    assert command(capsys, "list")[1].startswith("no datasets yet")
    code, out, _ = command(
        capsys, "import", tmp_path / "bars.csv", "--name", "btc", "--symbol", "BTC/USDT", "--kind", "linear", "--owner", "me"
    )
    assert code == 0
    assert "btc@1" in out
    assert "epoch ms" in out
    assert command(capsys, "append", "btc", tmp_path / "more.parquet", "--owner", "me")[0] == 0
    assert "3,000 bars" in command(capsys, "list")[1]
    shown = command(capsys, "show", "btc", "--owner", "me")[1]
    assert bars.fingerprint in shown
    assert "linear" in shown
    assert "owner        me\n" in shown
    for name in ("out.parquet", "out.csv", "out.arrow"):
        assert command(capsys, "export", "btc", tmp_path / name, "--owner", "me")[0] == 0
        assert bt.read_bars(tmp_path / name).fingerprint == bars.fingerprint
    assert command(capsys, "export", "btc", tmp_path / "hours.csv", "--timeframe", "1h", "--owner", "me")[0] == 0
    assert bt.read_bars(tmp_path / "hours.csv").fingerprint == bars.resample("1h").fingerprint
    assert command(capsys, "delete", "btc", "--owner", "me")[0] == 0
    assert command(capsys, "show", "btc", "--owner", "me")[0] == 1
    with closing(sqlite3.connect(tmp_path / "data" / "barstorm.sqlite")) as database:
        entries = database.execute("SELECT operation, subject, owner, outcome FROM audit ORDER BY id").fetchall()
    assert entries == [(f"datasets.{name}", "btc", "me", "ok") for name in ("create", "append", "delete")]


def test_an_invalid_file_is_refused_with_the_position_or_repaired(capsys: Captured, market_data: Path, tmp_path: Path) -> None:
    code, _, err = command(capsys, "import", market_data / "dirty" / "nan.csv")
    assert code == 1
    assert "line 9, close: the cell is empty" in err
    code, out, err = command(capsys, "import", market_data / "dirty" / "nan.csv", "--policy", "drop")
    assert (code, "58 bars" in out, "2 rows dropped" in err) == (0, True, True)
    assert command(capsys, "import", market_data / "dirty" / "no-header.csv", "--no-header")[0] == 0
    for wrong in (
        ("import", tmp_path / "nothing.csv"),
        ("export", "nan.csv", tmp_path / "out.xls"),
        ("append", "nobody", market_data / "goog-1d.csv"),
    ):
        assert command(capsys, *wrong)[0] == 1, wrong


def test_hints_name_the_options_of_the_command_line(capsys: Captured, tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    for content, flag in (
        ("Date,Open,High,Low,Close\n01/02/2024,1,1,1,1\n02/02/2024,1,1,1,1\n", "--day-first or --no-day-first"),
        ("Date;Open;High;Low;Close\n2024-01-02;1.234;1.234;1.234;1.234\n", "--decimal . to read 1.234"),
        ("1704067200000,1,1,1,1,1\n1704067260000,1,1,1,1,1\n", "--no-header"),
        ("time,open,high,low,close\n2024-01-02,1,1,1,x\n", "--policy drop"),
        ("day,open,high,low,end\n2024-01-02,1,1,1,1\n", "--columns close=TITLE"),
        ("ticker,date,open,high,low,close\nA,2024-01-02,1,1,1,1\nB,2024-01-02,1,1,1,1\n", "--symbol A"),
    ):
        file.write_text(content)
        code, _, err = command(capsys, "inspect", file)
        assert (code, flag in err) == (1, True), err


def test_a_file_is_inspected_without_being_imported(capsys: Captured, market_data: Path, tmp_path: Path) -> None:
    code, out, err = command(capsys, "inspect", market_data / "wild" / "mt5-h1.csv", "--timezone", "Europe/Athens")
    assert code == 0
    assert "60 bars of 1h in 60 rows" in out
    assert "2020-01-01T22:00Z  open 1.115" in out
    assert "%Y.%m.%d %H:%M:%S, Europe/Athens" in out
    assert "the volume is <TICKVOL>" in err
    assert not (tmp_path / "data").exists()
    assert command(capsys, "list")[1].startswith("no datasets yet")


def test_an_equity_is_imported_with_the_calendar_of_its_exchange(capsys: Captured, market_data: Path) -> None:
    equity = ("--kind", "equity", "--exchange", "XNAS")
    code, out, err = command(capsys, "import", market_data / "goog-1d.csv", *equity)
    assert (code, err) == (0, "")
    assert " 0 gaps" in out
    assert "within the sessions of XNAS" in out
    code, _, err = command(capsys, "import", market_data / "goog-1d.csv", *equity[:3], "NASDAK", "--name", "other")
    assert (code, "unknown calendar 'NASDAK'" in err, "NASDAQ" in err) == (1, True, True)


def test_samples_are_labelled_as_synthetic(capsys: Captured) -> None:
    assert command(capsys, "samples")[0] == 0
    assert command(capsys, "samples")[0] == 0, "adding them again changes nothing"
    lines = command(capsys, "list")[1].splitlines()
    assert len(lines) == len(SAMPLES)
    assert all(line.startswith("synthetic-") for line in lines)
    assert "synthetic, seed 7" in command(capsys, "show", "synthetic-1h")[1]
