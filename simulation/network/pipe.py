"""Half a TCP connection: the data on their way in one direction, and TCP's behaviour. Pure: the caller supplies the time.

A pipe is a first-in, first-out queue of items with their arrival times. `DelayModel` says when each arrives by itself. An item is
delivered when it and everything before it have arrived: nothing is reordered, as with TCP. The pipes of the simulator, the
emulator and the parity test's bare world only wait, and call.

    push, dial, dial_again      an item is sent; the SYN, which has its own schedule
    push_reset                  a reset is sent. It is not retransmitted when it is lost, because its sender has forgotten the
                                connection and all its data
    hold, release               the access link is down in this direction. Data on their way are lost, and sent again after the
                                last release, in order and in their full time: at that moment, or with `resumes = "rto"` at the
                                next retransmission, whose timeout has been doubling since the silence began
    hold_acks, release_acks     the link is down in the other direction. Items arrive, but the sender gets no acknowledgement:
                                they stay in the send buffer
    stall, unstall              the far end is blocked. Items wait in front of it and arrive at once when the last stall is over
    change_path                 the path is another one from now on; the emulator's paths change while connections exist
    wake_at, pop                when to call next, and what has arrived
    resumes_at, resume_if_due   the retransmission that ends a silence
    gives_up_at                 when the sender's kernel gives the connection up, if nothing changes
    late_until                  an item takes until then, longer than the path's declared bound; the caller clears it

With a congestion window, items wait for acknowledgements and are sent in parts. A hold or stall does not stop items that arrive
at the same instant. All times are ns on any clock that does not go backwards.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from reference.protocol.timers import NS_PER_S, ns
from simulation.network.congestion import CongestionWindow
from simulation.network.delay import NEVER, BandwidthQueue, DelayModel, PathDirection
from simulation.network.tcp import gives_up_after, next_retransmission, next_syn, syn_schedule
from simulation.random import EntityRandom

PART_EVERY = NS_PER_S
"""If an item takes longer than this to arrive, the far end notices once in this time that it is arriving."""
_IN_CELL = NEVER + 2  # in a shared bottleneck; when it leaves is not known yet
_LOST = NEVER + 1  # on its way when the link went down; arrives when it has been sent again

_TOGETHER_MAX = 1 << 20  # packets: any number
_SENT_MAX = 4096
"""How many passage times a middlebox may need: those sent within one latency, and the one before."""

CellToken = tuple[int, int, int]
"""Of a piece in a shared bottleneck: its index, its bytes, and how often the contents of the bottleneck had been lost."""
EnterCell = Callable[[int, CellToken, int], None]
"""Called with the bytes and the token of a piece, and when it enters, in ns; `Pipe.left_cell` gets the token back."""
T = TypeVar("T")


class Part:
    """Packets of a larger item, which arrives with the last ones."""


PART = Part()


class Pipe(Generic[T]):
    """See the module. `bytes_held`: sent and not acknowledged, in bytes. `pushed_at`: when something was last sent."""

    __slots__ = (
        "_ack_holds",
        "_delay",
        "_dialled_at",
        "_dials_at",
        "_enter_cell",
        "_holds",
        "_in_cell",
        "_is_closed",
        "_is_plain",
        "_notices_parts",
        "_part_at",
        "_pushed",
        "_reached_at",
        "_reset_index",
        "_stalled_since",
        "_stalls",
        "_syns",
        "_things",
        "_unacknowledged_bytes",
        "_window",
        "bytes_held",
        "hopeless_at",
        "late_until",
        "pushed_at",
        "resumes_at",
        "sent",
        "silent_since",
    )

    def __init__(
        self,
        direction: PathDirection,
        random_source: EntityRandom,
        bottleneck: BandwidthQueue | None = None,
        *,
        notices_parts: bool = False,
        enter_cell: EnterCell | None = None,
        send_buffer_bytes: int | None = None,
    ) -> None:
        """`enter_cell`: data pass a bottleneck shared with other clients, and the caller reports when they have left it
        (`left_cell`). `notices_parts`: `wake_at` includes the times at which another part of a large item has arrived.
        `send_buffer_bytes`: limits what is in flight, if there is a congestion window."""
        self._delay = DelayModel(direction, random_source, bottleneck)
        self._is_plain = direction.is_plain and enter_cell is None
        self._notices_parts = notices_parts and bool(direction.ns_per_byte or direction.has_window)
        self._enter_cell = enter_cell
        self._in_cell = 0  # how often the contents of the cell were lost
        self._window = CongestionWindow(direction.tcp, send_buffer_bytes) if direction.has_window else None
        self.sent: list[int] | None = [] if direction.is_counted else None
        """Times at which packets were sent, for a middlebox that counts; the caller removes old ones."""
        self._part_at = 0  # when the far end last noticed a part
        # (arrives at, bytes, index, item); not a deque, which takes 0.7 KiB when it is empty, as most pipes usually are
        self._things: list[tuple[int, int, int, T | Part]] = []
        self._pushed = 0
        self._dialled_at = 0
        self._dials_at = NEVER  # when the successful SYN is sent
        self._syns = 0
        self._reached_at = -1
        self._reset_index = -1
        self._holds = 0
        self._ack_holds = 0
        self.silent_since: int | None = None
        """Since when the sender has waited for an acknowledgement; None: it does not wait."""
        self.hopeless_at: int | None = None
        """When a sequence of retransmissions ends that are all lost. If both are None, the kernel will not give up."""
        self._unacknowledged_bytes = 0
        self._stalls = 0
        self._stalled_since = NEVER
        self._is_closed = False
        self.bytes_held = 0
        self.pushed_at = 0
        self.resumes_at: int | None = None
        self.late_until = 0

    def __len__(self) -> int:
        return len(self._things) + (0 if self._window is None else len(self._window.unsent))

    # Called at the near end.

    def push(self, now: int, item: T, size_bytes: int = 0, after: int = 0) -> int | None:
        """Send an item. `after`: the time in ns for which the sender is busy before it is sent; the order is kept. Returns
        `wake_at(now)` if that may have changed; otherwise None."""
        if self._is_closed:
            return None
        self.bytes_held += size_bytes
        self.pushed_at = now
        is_held = self._holds > 0 or self.resumes_at is not None
        if is_held:
            if self.sent is not None and not self._delay.direction.is_up:
                self.sent.append(now)  # the middlebox is on the server's side of the link
            self._fall_silent(now)
        if self._window is not None:
            self._window.unsent.append((size_bytes, item))
            if not is_held:
                self._transmit(now, after)
            return self.wake_at(now)
        index = self._pushed
        self._pushed = index + 1
        things = self._things
        if is_held:
            things.append((_LOST, size_bytes, index, item))
            return self.wake_at(now)
        if self._is_plain:  # as DelayModel.send, without the checks that most paths do not need
            delay = self._delay
            left_at = now + after if after else now  # no new int object that stays: there are thousands of pipes
            if left_at < delay.left_at:
                left_at = delay.left_at
            delay.left_at = left_at
            arrives_at = left_at + delay.direction.latency
            things.append((arrives_at, size_bytes, index, item))
            return arrives_at if len(things) == 1 and arrives_at <= self._stalled_since else None  # as wake_at
        things.append((self._send(size_bytes, index, now + after), size_bytes, index, item))
        return self.wake_at(now)

    def dial(self, now: int, item: T) -> None:
        """Send the SYN, the first item of this pipe; it is retransmitted by its own schedule."""
        self.pushed_at = self._dialled_at = now
        self._pushed = self._syns = 1
        if self._holds:
            self._things = [(_LOST, 0, 0, item)]
            self._fall_silent(now)
            return
        if self.sent is not None:
            self.sent.append(now)
        arrives_at, self._dials_at = self._delay.dial(now)
        self._things = [(arrives_at, 0, 0, item)]
        self._heed_repair(arrives_at)
        limit = self._delay.direction.limit
        if limit is not None and arrives_at - now > limit:
            self._note_late(arrives_at)

    def dial_again(self, now: int, item: T) -> None:
        """The SYN was not answered; it is sent again at its next time, or the kernel gives up if that has passed."""
        tcp = self._delay.direction.tcp
        at = next_syn(tcp, self._dialled_at, now)
        if at is None:
            self.hopeless_at = max(now, self._dialled_at + syn_schedule(tcp)[1])
            return
        if self._is_closed:
            return
        index = self._pushed
        self._syns = index + 1
        if not self._holds and (self._enter_cell is not None or self._delay.direction.is_shared):
            # It leaves at its time, and does not occupy before then what is shared with others.
            self._pushed, self.pushed_at, self.resumes_at = index + 1, now, at
            self._things.append((_LOST, 0, index, item))
            return
        self._dials_at = at
        self.push(now, item, 0, at - now)

    def push_reset(self, now: int, item: T) -> bool:
        """Send a reset. Returns whether it is on its way; otherwise it is lost."""
        if self._is_closed:
            return True
        self.pushed_at = now
        if self._holds:
            self._forget_after(now)
            return False
        self.resumes_at = None
        things = self._things
        self._drop_unsent()
        while things and things[-1][0] == _LOST:
            self._forget_last()
        index = self._pushed
        delay = self._delay
        arrives_at = delay.send_once(index, now)
        if arrives_at is None:
            return False
        self._pushed, self._reset_index = index + 1, index
        things.append((arrives_at, 0, index, item))
        return True

    def has_dialled(self, now: int) -> bool:
        """Whether the SYN that arrives, unless the link goes down, has been sent."""
        return not self._holds and self.resumes_at is None and self._dials_at <= now

    @property
    def reached_at(self) -> int:
        """When the last delivered item had arrived."""
        return self._reached_at

    def note_passage(self, now: int) -> None:
        """A packet without data is sent: a keepalive."""
        if self.sent is not None and not self._holds:
            self.sent.append(now)

    @property
    def latency(self) -> int:
        """The constant part of the propagation."""
        return self._delay.direction.latency

    @property
    def is_down(self) -> bool:
        """Whether data sent now are lost."""
        return self._holds > 0

    def is_at_rest(self) -> bool:
        """Whether nothing is on its way or waits, so that the caller has nothing to wait for."""
        if self._things or self.late_until or self.silent_since is not None or self.hopeless_at is not None:
            return False
        return self._window is None or not self._window.unsent

    @property
    def gives_up_at(self) -> int | None:
        """When the sender's kernel gives the connection up if nothing changes until then."""
        hopeless_at = self.hopeless_at
        if self.silent_since is None:
            return hopeless_at
        tcp = self._delay.direction.tcp
        tired_at = self.silent_since + gives_up_after(tcp)
        if self._is_dialling():
            tired_at = max(self.silent_since, self._dialled_at + syn_schedule(tcp)[1])
        return tired_at if hopeless_at is None else min(tired_at, hopeless_at)

    # Faults.

    def hold(self, now: int) -> bool:
        """The link goes down in this direction. Returns whether a reset was lost."""
        self._holds += 1
        self.resumes_at = None
        if self._things and self._things[-1][2] == self._reset_index:
            self._forget_after(now)
            return len(self._things) == 0 or self._things[-1][2] != self._reset_index
        reached, things = self._reached_at, self._things
        for place, thing in enumerate(things):
            reached = max(reached, thing[0])
            if reached > now and thing[0] != _LOST:
                self._in_cell += 1
                things[place] = (_LOST, *thing[1:])
        if (things and things[-1][0] == _LOST) or (self._window is not None and self._window.unsent):
            self._fall_silent(now)
        return False

    def release(self, now: int) -> None:
        """Undo one `hold`."""
        self._holds -= 1
        if self._holds:
            return
        since, tcp = self.silent_since, self._delay.direction.tcp
        if since is None or tcp.resumes == "at_once":
            self._resume(now)
            return
        if self._is_dialling():
            at = next_syn(tcp, self._dialled_at, now - 1)
        else:
            at = next_retransmission(since, self._delay.rto, ns(tcp.rto_max_s), now)
        if at is not None:  # else the schedule of the SYN is over, and the kernel reports it
            self.resumes_at = at
            self._note_late(at + self._delay.direction.one_way_max)

    def open(self, now: int) -> None:
        """Undo the `hold` of a connection that was not established yet; nothing has been lost."""
        self._holds -= 1
        if not self._holds:
            self._resume(now)

    def hold_acks(self) -> None:
        """The link goes down in the other direction."""
        self._ack_holds += 1

    def release_acks(self) -> bool:
        """Undo one `hold_acks`. Returns whether that has made room in the send buffer."""
        self._ack_holds -= 1
        if self._ack_holds:
            return False
        if not self._holds and self.resumes_at is None:
            self.silent_since = None
        made_room = self._unacknowledged_bytes > 0
        self.bytes_held -= self._unacknowledged_bytes
        self._unacknowledged_bytes = 0
        return made_room

    def stall(self, now: int) -> None:
        """The far end is blocked."""
        if not self._stalls:
            self._stalled_since = now
        self._stalls += 1

    def unstall(self) -> None:
        """Undo one `stall`."""
        self._stalls -= 1
        if not self._stalls:
            self._stalled_since = NEVER

    def change_path(self, now: int, direction: PathDirection, bottleneck: BandwidthQueue | None) -> None:
        """Data sent from now on take `direction`, with the same TCP and middlebox as before. Data on their way arrive as if they
        were sent now, but no later than they would have."""
        self._delay = self._delay.on_another_path(direction, bottleneck, self._pushed)
        self._is_plain = direction.is_plain and self._enter_cell is None
        for place, thing in enumerate(self._things):
            if now < thing[0] < NEVER:
                at = min(thing[0], self._send(thing[1], thing[2], now))
                self._things[place] = (at, *thing[1:])
                if self._window is not None:
                    self._window.corrected(thing[2], at + direction.back)

    def abandon(self) -> None:
        """Data on their way never arrive; data sent from now on may."""
        self._things.clear()
        self._in_cell += 1
        if self._window is not None:
            self._window.unsent.clear()
            self._window.forget()
        self.silent_since = None
        self.hopeless_at = None
        self.bytes_held = self._unacknowledged_bytes = 0

    def close(self) -> None:
        """Nothing arrives any more."""
        self._is_closed = True
        self.abandon()

    # Time.

    def wake_at(self, now: int) -> int | None:
        """When to call next, at `now` or later, if nothing changes until then."""
        at: int | None = None
        if self._things:
            first = self._things[0]
            at = first[0]
            if at >= NEVER or at > self._stalled_since:
                at = None
            elif at < now:
                at = now
            elif self._notices_parts:
                begins_at = max(now, at - round(first[1] * self._delay.direction.ns_per_byte))
                if at - begins_at > PART_EVERY:
                    at = begins_at + PART_EVERY
        if self._window is not None and self._window.unsent and not self._holds and self.resumes_at is None:
            opens_at = self._window.opens_at()
            if opens_at is not None and opens_at < NEVER and (at is None or opens_at < at):
                return max(now, opens_at)
        return at

    def pop(self, now: int) -> tuple[int, int, int, T] | None:
        """The next item that has arrived by `now`, with its time, bytes and index; its bytes are acknowledged."""
        if self._window is not None and self._window.unsent and not self._holds and self.resumes_at is None:
            self._transmit(now)
        things = self._things
        while things:
            thing = things[0]
            at = thing[0]
            if at > now or at > self._stalled_since:
                return None
            if at > self._reached_at:
                self._reached_at = at
            del things[0]
            if self._ack_holds and not self._holds:
                self._unacknowledged_bytes += thing[1]
                self._fall_silent(now)
            else:
                self.bytes_held -= thing[1]
            if thing[3] is not PART:
                return thing  # type: ignore[return-value]  # only a Part is not a T
        return None

    def next_arrived(self, now: int) -> T | None:
        """The next item, as `pop` would return it; None if nothing has arrived by `now`."""
        for at, _, _, item in self._things:
            if at > now or at > self._stalled_since:
                return None
            if not isinstance(item, Part):
                return item
        return None

    def has_part(self, now: int) -> bool:
        """Whether a part of the next item has arrived, for an item that takes longer than PART_EVERY."""
        if not (self._notices_parts and self._things):
            return False
        if self._window is not None:  # it arrives in parts of a few packets
            if self._things[0][2] == 0 or now - self._part_at < PART_EVERY or now != self._reached_at:
                return False
            self._part_at = now
            return True
        at, size_bytes = self._things[0][:2]
        return (
            now < at < NEVER
            and at <= self._stalled_since
            and now - (at - round(size_bytes * self._delay.direction.ns_per_byte)) >= PART_EVERY
        )

    def resume_if_due(self, now: int) -> None:
        """Send the retransmission that ends a silence, if it is due."""
        if self.resumes_at is not None and self.resumes_at <= now and not self._holds:
            self._resume(self.resumes_at)

    # Internal.

    def _is_dialling(self) -> bool:
        return len(self._things) > 0 and self._things[0][2] < self._syns

    def _resume(self, now: int) -> None:
        self.resumes_at = None
        was_silent = self.silent_since is not None
        self.silent_since = None
        self.hopeless_at = None
        self._delay.restart(now)
        if self._ack_holds and self._unacknowledged_bytes:
            self._fall_silent(now)
        things = self._things
        if self._window is not None and not self._is_dialling():
            while things and things[-1][0] == _LOST:
                _, size_bytes, _, item = things.pop()
                self._pushed -= 1
                self._put_back(size_bytes, item)
            if was_silent:  # a sender with nothing to send had no timeout
                self._window.timed_out()
            self._transmit(now)
            return
        for place, thing in enumerate(things):
            if thing[0] == _LOST:
                things[place] = (self._send(thing[1], thing[2], now), *thing[1:])
        if self._is_dialling():
            self._dials_at = now

    def _transmit(self, now: int, after: int = 0) -> None:
        """Send what the window allows, in parts of a few packets: of packets sent together only the last has the data."""
        window, delay = self._window, self._delay
        assert window is not None, "without one nothing is held back"
        unsent = window.unsent
        mss_bytes = delay.direction.tcp.mss_bytes
        together = 2 if delay.direction.is_shared else _TOGETHER_MAX  # a shared bottleneck spaces packets and acknowledgements
        while unsent:
            room = window.room(now, delay.rto)
            if not room:
                return
            size_bytes, item = unsent[0]
            packets = max(1, -(-size_bytes // mss_bytes))
            count = min(packets, room, together)
            index = self._pushed
            self._pushed = index + 1
            part_bytes = size_bytes if count == packets else count * mss_bytes
            arrives_at = self._send(part_bytes, index, now + after)
            if count == packets:
                del unsent[0]
                self._things.append((arrives_at, part_bytes, index, item))
            else:
                unsent[0] = (size_bytes - part_bytes, item)
                self._things.append((arrives_at, part_bytes, index, PART))
            acked_at = arrives_at + delay.direction.back if arrives_at < NEVER else NEVER  # until it has left its cell, too
            window.sent(now, index, count, acked_at, "" if delay.repair is None else delay.repair.loss)

    def _put_back(self, size_bytes: int, item: T | Part) -> None:
        """Lost data are sent again, before new data."""
        assert self._window is not None, "otherwise it is sent again unchanged"
        unsent = self._window.unsent
        if isinstance(item, Part) and unsent:
            unsent[0] = (unsent[0][0] + size_bytes, unsent[0][1])
        elif not isinstance(item, Part):
            unsent.insert(0, (size_bytes, item))

    def _drop_unsent(self) -> None:
        if self._window is not None:
            for size_bytes, _ in self._window.unsent:
                self.bytes_held -= size_bytes
            self._window.unsent.clear()

    def _send(self, size_bytes: int, index: int, sent_at: int) -> int:
        if self._enter_cell is not None:
            self._enter_cell(size_bytes, (index, size_bytes, self._in_cell), sent_at)
            return _IN_CELL
        return self._leave(size_bytes, index, sent_at)

    def left_cell(self, now: int, token: CellToken) -> None:
        """The caller of `enter_cell` reports that the data have left the cell."""
        index, size_bytes, in_cell = token
        place = index - self._things[0][2] if self._things else -1
        if in_cell != self._in_cell or not 0 <= place < len(self._things) or self._things[place][0] != _IN_CELL:
            return  # it was lost meanwhile
        delay = self._delay
        arrives_at = self._leave(size_bytes, index, now)
        self._things[place] = (arrives_at, *self._things[place][1:])
        if self._window is not None:
            loss = "" if delay.repair is None else delay.repair.loss
            self._window.corrected(index, arrives_at + delay.direction.back if arrives_at < NEVER else NEVER, loss)

    def _leave(self, size_bytes: int, index: int, sent_at: int) -> int:
        delay = self._delay
        if self.sent is not None:
            self.sent.append(sent_at)
            if len(self.sent) > _SENT_MAX:
                del self.sent[: _SENT_MAX // 2]
        arrives_at = delay.send(size_bytes, index, sent_at)
        limit = delay.direction.limit
        if limit is not None:
            if delay.repair is not None:
                self._heed_repair(arrives_at)
            if arrives_at - delay.left_at > limit:
                self._note_late(arrives_at)
        return arrives_at

    def _heed_repair(self, arrives_at: int) -> None:
        """New data may have shown the sender an earlier loss; or TCP has tried for too long."""
        repair = self._delay.repair
        if repair is None:
            return
        if repair.corrections:
            things = self._things
            for index, at in repair.corrections:
                place = index - things[0][2] if things else -1
                if 0 <= place < len(things) and things[place][0] != _LOST:
                    things[place] = (at, *things[place][1:])
                if self._window is not None:
                    self._window.corrected(index, at + self._delay.direction.back)
            repair.corrections.clear()
        if arrives_at == NEVER and repair.gives_up_at is not None:
            self.hopeless_at = repair.gives_up_at

    def _forget_after(self, now: int) -> None:
        """The sender has forgotten the connection: data that have not arrived by now never will."""
        self._drop_unsent()
        self._in_cell += 1
        things, reached, arrived = self._things, self._reached_at, 0
        for thing in things:
            reached = max(reached, thing[0])
            if reached > now:
                break
            arrived += 1
        while len(things) > arrived:
            self._forget_last()
        if self._pushed <= self._reset_index:
            self._reset_index = -1  # its place is free for something else
        self.silent_since = None
        self.hopeless_at = None

    def _forget_last(self) -> None:
        self._pushed -= 1
        self.bytes_held -= self._things.pop()[1]

    def _fall_silent(self, now: int) -> None:
        """Data are unacknowledged from now on; if that lasts, the kernel gives up eventually."""
        if self.silent_since is None:
            self.silent_since = now

    def _note_late(self, until: int) -> None:
        repair = self._delay.repair
        if until >= NEVER and repair is not None and repair.gives_up_at is not None:
            until = repair.gives_up_at
        self.late_until = max(self.late_until, until)
