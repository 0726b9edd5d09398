"""The interactive page of the API in a real browser that can reach nothing but the API."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect, sync_playwright

import workers
from api import create_app

Serve = Callable[[Any], AbstractContextManager[str]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser: chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_shows_and_tries_every_operation_without_a_network(browser: Browser, serve: Serve, tmp_path: Path, redis_url: str) -> None:
    with serve(create_app(workers.Settings(data_dir=str(tmp_path), redis_url=redis_url))) as url:
        foreign: list[str] = []
        faults: list[str] = []

        def own_only(route: Route) -> None:
            if route.request.url.startswith((f"{url}/", "data:")):
                route.continue_()
            else:
                foreign.append(route.request.url)
                route.abort()

        page = browser.new_page()
        page.route("**/*", own_only)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
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
    assert not foreign
    assert not faults
