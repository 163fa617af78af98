"""Name resolution: how a client finds the server's address, outdated answers, and failures.

    Zone       the name's record, and since when; the server's address
    Resolver   one client's: its own cached answer while that is fresh, else that of a shared resolver

The shared resolver fetches the record whenever its copy has expired, with a random phase, so a change is seen after U(0, ttl).
Addresses are numbers: 0 at first, one more with each failover. All times in ns.
"""

import bisect
from collections.abc import Callable
from typing import Protocol

from reference.protocol.timers import ns
from simulation.clock import ARRIVAL, Call, Clock
from simulation.network.link_state import without
from simulation.random import EntityRandom
from simulation.scenario.faults import DnsFailure, Failover
from simulation.scenario.paths import Dns

STALE_FOR = ns(30.0)
"""How long an expired answer may be used (RFC 8767, section 4)."""
Resolved = Callable[[int | None], None]
"""Called with the address, or None: there is no answer."""


class Zone:
    """The server's name."""

    def __init__(self) -> None:
        self.address = 0
        """The server's address now."""
        self.old_refuses = False
        """Whether an old address answers a SYN with a reset; else it is silent."""
        self._changed_at = [0]
        self._addresses = [0]

    def begin(self, fault: Failover) -> None:
        """The server has a new address from now on."""
        self.address += 1
        self.old_refuses = fault.old_address == "refuses"

    def publish(self, now: int) -> None:
        """The record has the server's address."""
        self._changed_at.append(now)
        self._addresses.append(self.address)

    def address_at(self, time: int) -> int:
        """The address in the record at a time."""
        return self._addresses[bisect.bisect_right(self._changed_at, time) - 1]


class AskingLink(Protocol):
    """The access link that queries use."""

    @property
    def clock(self) -> Clock: ...

    @property
    def is_cut_off(self) -> bool:
        """Whether a query sent now gets no answer."""


class Resolver:
    """One client's name resolution."""

    __slots__ = (
        "_address",
        "_dns",
        "_down_since",
        "_failures",
        "_good_until",
        "_link",
        "_lookups",
        "_phase",
        "_random_source",
        "_ttl",
        "_zone",
    )

    def __init__(self, dns: Dns, zone: Zone, link: AskingLink, random_source: EntityRandom) -> None:
        self._dns = dns
        self._zone = zone
        self._link = link
        self._random_source = random_source
        self._ttl = ns(dns.ttl_s)
        self._phase = int(self._ttl * random_source.uniform("dns phase", 0))
        self._address = 0
        self._good_until = -1
        self._lookups = 0
        self._failures: tuple[DnsFailure, ...] = ()
        self._down_since = 0

    @property
    def good_until(self) -> int:
        """Until when the last answer is used."""
        return self._good_until

    def begin(self, fault: DnsFailure, now: int) -> None:
        """`fault` begins for this client."""
        if not self._failures:
            self._down_since = now
        self._failures = (*self._failures, fault)

    def end(self, fault: DnsFailure) -> None:
        """`fault`, which has begun, is over."""
        self._failures = without(self._failures, fault)

    def look_up(self, resolved: Resolved) -> None:
        """`resolved` is called once: at once if the client's own answer is fresh."""
        if self._good_until > self._link.clock.now:
            resolved(self._address)
        else:
            self._ask(resolved, self._dns.tries)

    def _ask(self, resolved: Resolved, tries: int) -> None:
        clock, repeat = self._link.clock, ns(self._dns.repeat_s)
        answer = self._answer(clock.now)
        is_error = answer is None and self._failures[-1].how == "error"
        if self._link.is_cut_off or (answer is None and not is_error):
            if tries > 1:
                Call(clock, clock.now + repeat, ARRIVAL, lambda _: self._ask(resolved, tries - 1))
            else:
                Call(clock, clock.now + repeat, ARRIVAL, lambda _: resolved(None))
            return
        took = ns(self._dns.lookup.at(self._random_source.uniform("lookup", self._lookups)))
        self._lookups += 1
        Call(clock, clock.now + took, ARRIVAL, lambda _: self._answered(resolved, answer))

    def _answered(self, resolved: Resolved, answer: tuple[int, int] | None) -> None:
        if answer is None:
            resolved(None)
            return
        self._address, self._good_until = answer
        resolved(self._address)

    def _answer(self, now: int) -> tuple[int, int] | None:
        """The answer to a query: an address, and until when it is valid. None: no valid answer."""
        fetched = self._fetched(now)
        if not self._failures or fetched < self._down_since:
            return self._zone.address_at(fetched), fetched + self._ttl
        fetched = self._fetched(self._down_since - 1)
        if not self._ttl or now >= fetched + self._ttl + ns(self._dns.stale_s):
            return None
        return self._zone.address_at(fetched), max(fetched + self._ttl, now + STALE_FOR)

    def _fetched(self, now: int) -> int:
        """When the shared resolver fetched the copy that it has at `now`."""
        return max(0, (now - self._phase) // self._ttl * self._ttl + self._phase) if self._ttl else now
