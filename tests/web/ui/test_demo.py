"""`steadywire demo --web`: the browser is opened at the admin view, which shows the demo while it goes on."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from rich.console import Console

from simulation.cli.demo import show_page

from .browser import until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "simulation.cli", "demo", "--web", "--clients", "5", "--seconds", "6", "--seed", "3"]


def test_the_demo_in_the_browser(browser: Browser, tmp_path: Path, screenshots: Path) -> None:
    opened, program = tmp_path / "opened", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    program.chmod(0o755)
    environment = os.environ | {"BROWSER": f"{program} %s", "PYTHONPATH": str(ROOT)}
    demo = subprocess.Popen(COMMAND, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: opened.exists() and opened.read_text().endswith("\n"), "the browser is opened", within_s=120)
    url = opened.read_text().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/admin", url)
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(url)
    for user in ("ada", "bela", "cleo"):
        expect(page.locator("#sessions tbody")).to_contain_text(user, timeout=10_000)
    until(lambda: not page.locator("#reconnections-now").inner_text().startswith("0 "), "reconnections are seen", within_s=20)
    page.screenshot(path=str(screenshots / "demo.png"))
    said, _ = demo.communicate(timeout=60)
    assert f"the admin view, live: {url}" in said
    assert demo.returncode == 0, said
    expect(page.locator("#trouble")).to_contain_text("cannot be reached")
    context.close()
    assert [text for text in complaints if "net::ERR_" not in text] == [], "nothing but that the server is gone"


@pytest.mark.parametrize("opens_browser", [True, False])
def test_a_machine_without_a_browser(opens_browser: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, said = tmp_path / "opened", io.StringIO()
    monkeypatch.setenv("BROWSER", f"touch {opened} #%s")
    show_page(Console(file=said), "http://127.0.0.1:8765", opens_browser=opens_browser)
    assert said.getvalue() == "the admin view, live: http://127.0.0.1:8765/admin\n"
    if opens_browser:
        until(opened.exists, "the browser is opened")
    else:
        time.sleep(0.5)
        assert not opened.exists()
