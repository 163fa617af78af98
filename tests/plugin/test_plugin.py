"""The pytest plugin in a foreign project: its tests run in a separate process and folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import document

PLAIN = '''
import contextlib
import http.client
import socket
import threading
import time

import pytest


@pytest.fixture
def echo():
    """A server that is not ours."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(stream):
        with stream, contextlib.suppress(OSError):
            while data := stream.recv(65536):
                stream.sendall(data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def dial(network):
    return socket.create_connection((network.host, network.port), timeout=20)


def test_latency_can_be_changed(bad_network, echo):
    network = bad_network(echo)
    with dial(network) as stream:
        network.change(latency_s=0.1, loss=0.0)
        began_at = time.perf_counter()
        stream.sendall(b"x")
        assert stream.recv(1) == b"x"
        assert time.perf_counter() - began_at >= 0.2
    assert network.statistics().bytes_to_client == 1


def test_an_outage_lasts_for_its_block(bad_network, echo):
    network = bad_network(f"127.0.0.1:{echo}")
    with dial(network) as stream:
        with network.outage():
            stream.sendall(b"x")
            stream.settimeout(0.1)
            with pytest.raises(TimeoutError):
                stream.recv(1)
        stream.settimeout(20)
        assert stream.recv(1) == b"x"
        network.reset()
        with pytest.raises(ConnectionResetError):
            stream.recv(1)
    with network.refuse(), pytest.raises(ConnectionRefusedError):
        dial(network)


@pytest.mark.parametrize("fields", [{"latncy_s": 1}, {"latency_s": -1}, {"loss": 2}])
def test_a_bad_path_is_refused(bad_network, echo, fields):
    with pytest.raises(ValueError, match=next(iter(fields)).replace("loss", "probability")):
        bad_network(echo, **fields)


def test_the_server_survives_a_bad_network(steadywire_server, bad_network):
    run_id = steadywire_server.create_run()
    network = bad_network(steadywire_server, latency_s=0.001)
    grace = steadywire_server.connect(run_id, "grace")
    ada = steadywire_server.connect(run_id, "ada", url=network.url)
    ada.publish("CHAT", {"text": "one"})
    network.reset()
    ada.publish("CHAT", {"text": "two"})
    deadline = time.monotonic() + 20
    while len(grace.events()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [event.data["text"] for event in grace.events()] == ["one", "two"]
    assert network.statistics().connections_cut >= 1


def test_virtual_time_passes_at_once(virtual_time):
    import trio

    async def program():
        await trio.sleep(3600)
        return "done"

    began_at = time.monotonic()
    assert virtual_time.run(program) == "done"
    assert virtual_time.elapsed_s == 3600
    assert time.monotonic() - began_at < 30
    with pytest.raises(trio.TooSlowError):
        virtual_time.run(trio.sleep, 100.0, limit_s=10)


def test_a_world_in_virtual_time_repeats(virtual_time):
    async def program():
        import trio

        async with virtual_time.open_world(seed=7) as world, world.connect("ada") as ada, world.connect("grace") as grace:
            await ada.publish("CHAT", {"text": "hello"})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.link("ada").outage, 60.0)
                await trio.sleep(1)
                await ada.publish("CHAT", {"text": "after the outage"})
            times = []
            async for event in grace.events():
                if event.event_type != "CHAT":
                    continue
                times.append((trio.current_time(), event.data["text"]))
                if len(times) == 2:
                    return times

    first, again = virtual_time.run(program), virtual_time.run(program)
    assert first[1][1] == "after the outage"
    assert virtual_time.elapsed_s > 60
    assert [text for _, text in first] == [text for _, text in again]
    assert first[1][0] - first[0][0] == pytest.approx(again[1][0] - again[0][0], abs=1e-6)
'''

WITH_TRIO = """
import trio

from reference.client import connect


async def test_the_server_under_pytest_trio(steadywire_server, bad_network):
    run_id = steadywire_server.create_run()
    network = bad_network(steadywire_server, latency_s=0.001)
    async with connect(network.url, run_id, token=steadywire_server.token("ada")) as client:
        await client.publish("CHAT", {"text": "one"})
        with network.outage():
            ticket = client.publish_soon("CHAT", {"text": "two"})
            await trio.sleep(0.05)
            assert ticket.result is None
        with trio.fail_after(30):
            assert await ticket.accepted() == 2


async def test_a_world_under_pytest_trio(virtual_time, autojump_clock):
    async with virtual_time.open_world() as world, world.connect("ada") as client:
        await world.link("ada").outage(300.0)
        assert await client.publish("CHAT", {"text": "hello"}) == 1
    assert trio.current_time() > 300
"""


def pytest_in(folder: Path, *options: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """pytest of the project in `folder`, which has no configuration of ours; the plugin comes from its entry point or, in a
    checkout that is not the one installed, from -p."""
    environment = {**os.environ, "PYTHONPATH": str(document.ROOT)}
    return subprocess.run(
        [
            sys.executable,
            *python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:schemathesis",
            "-W",
            "error",
            *_plugin(),
            *options,
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _plugin() -> tuple[str, ...]:
    from importlib.metadata import entry_points

    is_installed = any(each.value == "simulation.pytest_plugin" for each in entry_points(group="pytest11"))
    return () if is_installed else ("-p", "simulation.pytest_plugin")


@pytest.mark.slow
def test_plain_tests_of_another_project(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(PLAIN)
    done = pytest_in(tmp_path)
    assert "8 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_with_pytest_trio(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(WITH_TRIO)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    done = pytest_in(tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_imports_nothing_of_ours_until_it_is_asked() -> None:
    heavy = ("simulation", "reference", "trio", "numpy", "hypothesis")
    script = f"import simulation.pytest_plugin, sys; print(*sorted(each for each in sys.modules if each.startswith({heavy})))"
    done = subprocess.run([sys.executable, "-c", script], cwd=document.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "reference",
        "reference.extras",
        "reference.public_names",
        "simulation",
        "simulation.pytest_plugin",
    ]


@pytest.mark.slow
def test_the_examples_of_the_page(tmp_path: Path) -> None:
    examples = document.blocks(document.page("tools.md"), "python")
    (tmp_path / "test_page.py").write_text("\n\n".join(examples))
    done = pytest_in(tmp_path)
    assert re.search(r"^[1-9]\d* passed", done.stdout, re.MULTILINE), done.stdout + done.stderr


def test_the_entry_point_names_it() -> None:
    text = (document.ROOT / "pyproject.toml").read_text()
    assert re.search(r'^\[project.entry-points.pytest11\]\nsteadywire = "simulation.pytest_plugin"$', text, re.MULTILINE)
