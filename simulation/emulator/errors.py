"""Errors of the emulator; invalid numbers are ConfigErrors instead."""

import math

import msgspec

from reference.protocol.errors import ConfigError, LocalError
from simulation.scenario.faults import DeviceFault, Fault, NameFault, Path
from simulation.scenario.paths import Tcp


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
    if path.tcp.retries != Tcp().retries:
        raise ConfigError("tcp.retries is for the simulator: here the kernels at both ends give up; leave it at its default")
    if path.tcp.tls_ticket_s is not None:
        raise ConfigError("tcp.tls_ticket_s is for the simulator: the emulator charges every handshake in full; remove it")
    if path.dns is not None:
        raise ConfigError("dns is for the simulator: the emulator is found by its port; remove path.dns")


def check_fault(fault: Fault) -> None:
    """ConfigError unless it is a fault of sockets, and its times are finite and not negative."""
    if isinstance(fault, DeviceFault | NameFault):
        kind = fault.__struct_config__.tag
        raise ConfigError(f"a {kind} happens in the simulator only; simulate it, or remove it")
    _check_seconds("at_s", fault.at_s)
    _check_seconds("duration_s", getattr(fault, "duration_s", 0.0))


def _check_seconds(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be a finite number of seconds, 0 or more, not {value!r}")
