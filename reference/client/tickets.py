"""Tickets: handles of published events that are not settled yet."""

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from reference.protocol.client.outcomes import PublishAccepted, PublishFailed
from reference.protocol.errors import SteadywireError


class PublishFailedError(SteadywireError):
    """A publish failed for good.

    `code`: a RejectCode if the server refused it, a FailureCode if this client gave it up. `may_have_arrived`: a copy was sent
    and never answered, so the event may be in the log.
    """

    def __init__(self, code: str, message: str, *, may_have_arrived: bool) -> None:
        doubt = "; it may have arrived" if may_have_arrived else ""
        super().__init__(f"{message} [{code}]{doubt}")
        self.code = code
        self.message = message
        self.may_have_arrived = may_have_arrived


class UndeliveredError(SteadywireError):
    """The block of `connect` has ended, and some of its publishes were not accepted and their results not awaited.

    `failures`: their outcomes, in the order of their publishes.
    """

    def __init__(self, failures: Sequence[PublishFailed], waited_s: float) -> None:
        first = failures[0]
        doubt = ", some of which may have arrived" if any(failure.may_have_arrived for failure in failures) else ""
        super().__init__(
            f"{len(failures)} publishes were not accepted within the {waited_s:g} s of drain_s{doubt}; the first: "
            f"{first.message} [{first.code}]. Wait for `publish` or `Ticket.accepted`, raise drain_s, or pass an outbox_store"
        )
        self.failures = tuple(failures)


class Ticket:
    """One published event, identified by its number in this client."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._settled = trio.Event()
        self._is_watched = False
        self._result: PublishAccepted | PublishFailed | None = None

    @property
    def result(self) -> PublishAccepted | PublishFailed | None:
        """The result; None while there is none."""
        self._is_watched = self._is_watched or self._result is not None
        return self._result

    @property
    def is_lost_unseen(self) -> bool:
        """Whether it has failed and no task has waited for it or read its result."""
        return isinstance(self._result, PublishFailed) and not self._is_watched

    @property
    def failure(self) -> PublishFailed:
        """The failure; only for a failed one."""
        assert isinstance(self._result, PublishFailed), "asked of one that has failed"
        return self._result

    async def accepted(self) -> int:
        """Wait until the event is durable and return its sequence number; raises PublishFailedError.

        May be called by any number of tasks, at any time, also after the block. Cancelling it does not withdraw the event.
        """
        self._is_watched = True
        await self._settled.wait()
        result = self._result
        if isinstance(result, PublishAccepted):
            return result.sequence_number
        assert result is not None, "the event is set together with the result"
        raise PublishFailedError(result.code, result.message, may_have_arrived=result.may_have_arrived)

    def settle(self, result: PublishAccepted | PublishFailed) -> None:
        """Called by the client once, when the publish is accepted or has failed."""
        assert self._result is None, "a ticket is settled once"
        self._result = result
        self._settled.set()

    def __repr__(self) -> str:
        return f"Ticket({self.number}, {'waiting' if self._result is None else self._result})"


@dataclass(slots=True)
class Tickets:
    """The unsettled tickets of one client. Bounded by the outbox: a publish that is not in it is settled."""

    waiting: dict[int, Ticket]

    def issue(self, number: int) -> Ticket:
        ticket = self.waiting[number] = Ticket(number)
        return ticket

    def settle(self, result: PublishAccepted | PublishFailed) -> Ticket | None:
        ticket = self.waiting.pop(result.ticket, None)
        if ticket is not None:
            ticket.settle(result)
        return ticket
