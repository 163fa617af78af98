"""The files that the server sends to browsers, with their headers, and nothing else."""

import json
import re
from pathlib import Path

import pytest
from trio.testing import MockClock

import reference.web
from reference.server.http.answers import STATUSES
from reference.web.files import FOLDERS, PAGES, web_files
from tests.server.running_server import running_server

WEB = Path(reference.web.__file__).parent
SCRIPTS = sorted(path for path in WEB.rglob("*.js") if path.parent.name != "jupyter")


async def test_every_page_and_file_is_served(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        for path, file in web_files().items():
            answer = await running.ask("GET", path, token=None)
            assert (answer.status, answer.body) == (200, file.body), path
            headers = answer.headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-cache"
            policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert "unsafe" not in headers["content-security-policy"]


async def test_a_file_that_is_known_is_not_sent_again(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        first = await running.ask("GET", "/", token=None)
        etag = first.headers["etag"]
        for header, status in ((etag, 304), (f'W/{etag}, "other"', 304), ("*", 304), ('"other"', 200)):
            again = await running.ask("GET", "/", token=None, headers=f"If-None-Match: {header}\r\n")
            assert (again.status, again.headers["etag"]) == (status, etag)
            assert again.body == (first.body if status == 200 else b"")


@pytest.mark.parametrize(
    "path",
    [
        "/web/files.py",
        "/web/__init__.py",
        "/web/page/index.html",
        "/web/page/../files.py",
        "/web/..%2f..%2fpyproject.toml",
        "/web/%2e%2e/server/app.py",
        "/web/jupyter/widgets.py",
        "/web/",
        "/web/nothing.js",
    ],
)
async def test_nothing_else_is_served(path: str, autojump_clock: MockClock) -> None:
    async with running_server() as running:
        answer = await running.ask("GET", path, token=None)
        assert (answer.status, answer.problem["code"]) == (STATUSES[4404], 4404)


async def test_a_page_can_ask_whether_the_server_takes_names_for_tokens(autojump_clock: MockClock) -> None:
    async with running_server() as running:
        assert json.loads((await running.ask("GET", "/web/settings.json", token=None)).body) == {"isDevelopment": True}


@pytest.mark.parametrize("path", PAGES.values())
def test_a_page_has_no_inline_script_or_style_and_loads_only_what_there_is(path: str) -> None:
    page = (WEB / path).read_text("utf-8")
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert all(re.search(r'\ssrc="', tag) for tag in re.findall(r"<script[^>]*>", page))
    for link in re.findall(r'(?:src|href)="([^"#][^"]*)"', page):
        assert link in web_files() or link in PAGES, link


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(WEB)))
def test_a_script_imports_only_what_is_served_and_makes_no_markup(script: Path) -> None:
    source = script.read_text("utf-8")
    for name in re.findall(r'^(?:import|export)\b[^;]*?from "([^"]+)"|^import "([^"]+)"', source, re.MULTILINE):
        target = (script.parent / (name[0] or name[1])).resolve()
        assert f"/web/{target.relative_to(WEB)}" in web_files(), f"{script.name} imports {target}"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", source)
    assert not re.search(r"""["'`]https?://(?!www\.w3\.org/)[\w-]+\.""", source), "everything comes from this server"


def test_every_folder_of_scripts_is_served() -> None:
    scripts = {path.relative_to(WEB).parts[0] for path in SCRIPTS if path.parent != WEB}
    assert scripts <= set(FOLDERS)
