"""`steadywire proxy`: the emulator as a command, between any TCP client and any TCP server.

All connections to the proxy share one access link: its bandwidth, its queue and its faults. For two clients on two links, run two
proxies.
"""

import contextlib
import ipaddress
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import trio
from msgspec.structs import replace

from reference.protocol.errors import ConfigError
from reference.server.access.origins import is_loopback
from reference.server.wire.front_door import Problem
from reference.server.wire.limits import ListenLimits
from reference.server.wire.listener import Listening, Serve, listen
from simulation.emulator import EmulatedAccessLink, Emulator, open_emulator
from simulation.processes.path_changes import with_loss_table
from simulation.processes.proxy_control import ProxyControl
from simulation.random import RandomStreams
from simulation.scenario import library
from simulation.scenario.faults import Fault, LinkFault, Path, describe
from simulation.scenario.scenario import Group, Scenario
from simulation.scenario.text import changed, converted, plain

Address = tuple[str, int]


def proxy_command(
    *,
    to: str,
    listen_at: str,
    control: str | None,
    scenario: str | None,
    group: str | None,
    changes: Mapping[str, Any],
    seed: int,
) -> int:
    """Run until SIGINT or SIGTERM; returns the exit code. Raises ConfigError, EmulatorError and ListenError before it listens."""
    upstream, near = address_of(to, "--to", port_min=1), resolved(address_of(listen_at, "--listen"), "--listen")
    control_at = None if control is None else resolved(address_of(control, "--control"), "--control")
    chosen = None if scenario is None else one_client_of(library.find(scenario), group, seed)
    if chosen is None and group is not None:
        raise ConfigError("--group names a group of a scenario; give --scenario too")
    path = Path() if chosen is None else chosen.groups[0].path
    path = converted(changed(plain(path), with_loss_table(changes)), Path)
    trio.run(_run, upstream, near, control_at, chosen, path, seed, restrict_keyboard_interrupt_to_checkpoints=True)
    return 0


def address_of(text: str, option: str, *, port_min: int = 0) -> Address:
    """Host and port of HOST:PORT or [IPV6]:PORT. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    is_number = port.isascii() and port.isdecimal() and len(port) <= 5 and port_min <= int(port) <= 65535
    if not colon or not host or not is_number or (":" in host and not text.startswith("[")):
        raise ConfigError(f"{option} {text}: write HOST:PORT, such as 127.0.0.1:9000, or [::1]:9000; a port is at most 65535")
    return host, int(port)


def resolved(address: Address, option: str) -> Address:
    """With the IP address of the host, to listen on. Raises ConfigError."""
    host, port = address
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host)), port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{option}: no address is known for {host}: {error.strerror or error}") from None
    preferred = min(found, key=lambda each: each[0] != socket.AF_INET)
    return str(preferred[4][0]), port


def one_client_of(scenario: Scenario, group: str | None, seed: int) -> Scenario:
    """The scenario of one client of a group (None: the first), with its faults. Raises ConfigError."""
    names = [each.name for each in scenario.groups]
    if group is not None and group not in names:
        raise ConfigError(f"--group {group}: scenario {scenario.name} has no such group; it has {', '.join(names)}")
    chosen: Group = scenario.groups[0 if group is None else names.index(group)]
    happening = scenario.faults_of(RandomStreams(seed))
    faults = [each for each in happening if isinstance(each, LinkFault) and each.hits(chosen.client_names[0])]
    if len(faults) < len(happening):
        left_out = len(happening) - len(faults)
        print(
            f"steadywire proxy: {left_out} faults of {scenario.name} are not of this access link and are left out",
            file=sys.stderr,
        )
    return scenario.replace(
        groups=(replace(chosen, clients=1),),
        regions=tuple(replace(each, groups=(chosen.name,)) for each in scenario.regions if chosen.name in each.groups),
        faults=tuple(replace(each, clients=()) for each in faults),
        drawn_faults=(),
    )


async def _run(
    upstream: Address, near: Address, control_at: Address | None, scenario: Scenario | None, path: Path, seed: int
) -> None:
    downs = () if scenario is None else _downs_of(scenario, seed)
    name = "proxy" if scenario is None else scenario.groups[0].client_names[0]
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with open_emulator(*upstream, seed=seed) as emulator, trio.open_nursery() as nursery:
            link = await emulator.add_link(name, path, host=near[0], port=near[1])
            about = {"listens": _shown((near[0], link.port)), "to": _shown(upstream)}
            if control_at is not None:
                about["control"] = await _listen_for_control(emulator, link, nursery, control_at, about)
            control = f"; control API at {about['control']}" if "control" in about else ""
            print(f"steadywire proxy: {about['listens']} -> {about['to']}{control}", flush=True)
            if scenario is not None:
                nursery.start_soon(_announce, scenario.faults)
                nursery.start_soon(emulator.run_schedule, scenario.faults)
                nursery.start_soon(emulator.run_availability, downs)
            await anext(signals)
            nursery.cancel_scope.cancel()


def _downs_of(scenario: Scenario, seed: int) -> Iterable[Iterable[LinkFault]]:
    from simulation.network.availability import comings_and_goings  # it needs the simulator's clock, which a proxy does not

    return tuple(comings_and_goings(scenario, RandomStreams(seed)))  # all now: an error must come before the first connection


async def _listen_for_control(
    emulator: Emulator, link: EmulatedAccessLink, nursery: trio.Nursery, at: Address, about: dict[str, str]
) -> str:
    if not is_loopback(at[0]):
        print(
            f"steadywire proxy: every host that can reach {at[0]} may use the control API; it has no authentication",
            file=sys.stderr,
        )
    front_door = ProxyControl(emulator, link, nursery, about).front_door(_report)
    listening: Listening = await nursery.start(_listen, at, front_door.serve)
    return f"http://{_shown((at[0], listening.port))}"


async def _listen(at: Address, serve: Serve, *, task_status: "trio.TaskStatus[Listening]") -> None:
    await listen(*at, serve, limits=ListenLimits(backlog_connections=64), task_status=task_status)


async def _announce(faults: Sequence[Fault]) -> None:
    began_at = trio.current_time()
    for fault in sorted(faults, key=lambda each: each.at_s):
        await trio.sleep_until(began_at + fault.at_s)
        print(f"{fault.at_s:8.1f} s  {describe(fault)}", flush=True)


def _report(problem: Problem) -> None:
    print(f"steadywire proxy: {problem.what}: {problem.error!r}", file=sys.stderr)


def _shown(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
