"""Errors of the emulator; invalid numbers are ConfigErrors instead."""

import math

import msgspec

from reference.protocol.errors import ConfigError, LocalError
from simulation.scenario.faults import DeviceFault, Fault, NameFault, ServerFault
from simulation.scenario.paths import Path, Tcp


class EmulatorError(LocalError):
    """A client without a link, a name or a port in use, or a closed emulator."""


def check_path(path: Path) -> None:
    """ConfigError unless the emulator supports `path`."""
    # msgspec checks decoded values, but not a Struct that is created in Python.
    _check_seconds("latency_s", path.latency_s)
    _check_seconds("jitter_s", path.jitter_s)
    bandwidth = path.bandwidth_bytes_per_s
    if bandwidth is not None and not (math.isfinite(bandwidth) and bandwidth > 0):
        raise ConfigError(f"bandwidth_bytes_per_s must be a finite number above 0, or None, not {bandwidth!r}")
    try:
        msgspec.convert(msgspec.to_builtins(path), Path)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None
    for name, value, usual, why in (
        ("tcp.retries", path.tcp.retries, Tcp().retries, "the kernels at both ends give up by their own rules"),
        ("tcp.user_timeout_s", path.tcp.user_timeout_s, None, "it is an option of the sockets at both ends"),
        ("tcp.keepalive", path.tcp.keepalive, None, "it is an option of the sockets at both ends"),
        ("tcp.tls_ticket_s", path.tcp.tls_ticket_s, None, "the emulator charges every handshake in full"),
        ("middlebox.idle_sweep_s", path.middlebox.idle_sweep_s, 0.0, "the emulator looks for idle connections all the time"),
        ("dns", path.dns, None, "the emulator is found by its port"),
    ):
        if value != usual:
            raise ConfigError(f"{name} is for the simulator: {why}; leave it out")


def check_fault(fault: Fault) -> None:
    """ConfigError unless it is a fault of sockets, and its times are finite and not negative."""
    if isinstance(fault, DeviceFault | NameFault):
        kind = fault.__struct_config__.tag
        raise ConfigError(f"a {kind} happens in the simulator only; simulate it, or remove it")
    _check_seconds("at_s", fault.at_s)
    _check_seconds("duration_s", getattr(fault, "duration_s", 0.0))


def check_link_fault(fault: Fault) -> None:
    """ConfigError unless the emulator can carry it out; `check_fault` takes faults of the server process as well."""
    check_fault(fault)
    if isinstance(fault, ServerFault):
        raise ConfigError(f"a {fault.__struct_config__.tag} is a fault of the server process, not of the emulator")


def _check_seconds(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be a finite number of seconds, 0 or more, not {value!r}")
