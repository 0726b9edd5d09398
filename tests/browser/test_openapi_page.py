"""The OpenAPI page in a real browser that can reach only the API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect, sync_playwright

import workers
from api import create_app
from tests.support.serving import Serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser: chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_lists_every_operation_and_executes_one_offline(browser: Browser, serve: Serve, tmp_path: Path, redis_url: str) -> None:
    with serve(create_app(workers.Settings(data_dir=str(tmp_path), redis_url=redis_url))) as url:
        blocked: list[str] = []
        page_errors: list[str] = []

        def allow_own(route: Route) -> None:
            if route.request.url.startswith((f"{url}/", "data:")):
                route.continue_()
            else:
                blocked.append(route.request.url)
                route.abort()

        page = browser.new_page()
        page.route("**/*", allow_own)
        page.on("pageerror", lambda error: page_errors.append(str(error)))
        page.on("console", lambda message: page_errors.append(message.text) if message.type == "error" else None)
        page.goto(url)

        document = httpx.get(f"{url}/schema/openapi.json").raise_for_status().json()
        operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        expect(page.locator(".opblock")).to_have_count(len(operations))
        for operation in operations:
            expect(page.locator(f"[id$='-{operation}']")).to_be_visible()

        block = page.locator("[id$='-get_health']")
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Try it out").click()
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
        page.close()
    assert not blocked
    assert not page_errors
