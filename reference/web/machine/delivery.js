/**
 * Delivery: events to the application in order and each once, snapshots and resets, presence and cursors (protocol 7.12 to 7.19, 7.35).
 *
 * Both transports end here. A snapshot moves the position forward, or into another history; it never moves it back in the same one, so
 * it is harmless when the other transport has been faster.
 */

import { CloseCode, RemoteError } from "./errors.js";
import { CURSOR_MOVE, USER_JOIN, USER_LEAVE, byCodePoint, isSameJson } from "./events.js";
import { ns } from "./timers.js";

/**
 * @typedef {import("./context.js").Context} Context
 * @typedef {import("./events.js").Data} Data
 * @typedef {import("./events.js").RunEvent} RunEvent
 * @typedef {import("./frames.js").PollAnswer} PollAnswer
 * @typedef {import("./frames.js").SnapshotFrame} SnapshotFrame
 * @typedef {import("./frames.js").Welcome} Welcome
 */

/** Order, duplicates and gaps of one client in one run (7.12). */
export class Inbox {
  #heldMax;
  /** @type {Map<number, RunEvent>} events that wait for one that is missing */
  #held = new Map();
  /** @type {string | null} */
  epoch = null;
  /** The number of the last event handed over. */
  last = 0;

  /** @param {number} heldMax */
  constructor(heldMax) {
    this.#heldMax = heldMax;
  }

  get held() {
    return this.#held.size;
  }

  /**
   * Take a new position: everything up to `sequenceNumber` in `epoch` is known by other means.
   *
   * @param {string} epoch
   * @param {number} sequenceNumber
   */
  startAt(epoch, sequenceNumber) {
    if (epoch !== this.epoch || sequenceNumber < this.last) this.#held.clear(); // it belongs to a lost history
    this.epoch = epoch;
    this.last = sequenceNumber;
    for (const number of [...this.#held.keys()]) if (number <= sequenceNumber) this.#held.delete(number);
  }

  /**
   * Sort a batch: the events to hand over now, the number of duplicates, and whether an event is missing.
   *
   * @param {readonly RunEvent[]} events
   */
  receive(events) {
    /** @type {RunEvent[]} */
    const deliver = [];
    let duplicates = 0;
    this.#release(deliver);
    for (const event of events) {
      const number = /** @type {number} */ (event.sequenceNumber);
      if (number === this.last + 1) {
        this.last = number;
        deliver.push(event);
        this.#release(deliver);
      } else if (number <= this.last || this.#held.has(number)) duplicates += 1;
      else if (this.#held.size < this.#heldMax) this.#held.set(number, event);
    }
    return { deliver, duplicates, isMissing: this.#held.size > 0 };
  }

  /** @param {RunEvent[]} deliver */
  #release(deliver) {
    for (;;) {
      const event = this.#held.get(this.last + 1);
      if (event === undefined) return;
      this.#held.delete(this.last + 1);
      this.last += 1;
      deliver.push(event);
    }
  }
}

/** Presence and cursors; changes become events without a number (7.35). */
export class Roster {
  /** @type {Set<string>} */
  #users = new Set();
  /** @type {Map<string, Data>} */
  #cursors = new Map();

  /** The present users, sorted. */
  get users() {
    return [...this.#users].sort(byCodePoint);
  }

  /** The cursors, by user. */
  get cursors() {
    return new Map(this.#cursors);
  }

  /**
   * Everything anew, as a welcome or a poll brings it.
   *
   * @param {readonly string[]} users
   * @param {{ [user: string]: Data }} cursors
   * @param {number} serverTime
   */
  full(users, cursors, serverTime) {
    return [...this.presence({ full: users, joined: [], left: [], serverTime }), ...this.moved({ full: cursors, moved: {}, serverTime })];
  }

  /**
   * @param {{ full: readonly string[] | null, joined: readonly string[], left: readonly string[], serverTime: number }} frame
   * @returns {RunEvent[]}
   */
  presence({ full, joined, left, serverTime }) {
    const changes = [];
    const isHere = new Set(full);
    const gone = full === null ? left : [...new Set([...this.#users, ...this.#cursors.keys()])].filter((user) => !isHere.has(user));
    for (const user of full ?? joined) {
      if (this.#users.has(user)) continue;
      this.#users.add(user);
      changes.push(unnumbered(USER_JOIN, user, {}, serverTime));
    }
    for (const user of gone) {
      const wasNamed = this.#users.delete(user);
      const hadCursor = this.#cursors.delete(user);
      if (!wasNamed && !hadCursor) continue; // a cursor may arrive before its user's name
      changes.push(unnumbered(USER_LEAVE, user, {}, serverTime));
    }
    return changes;
  }

  /**
   * @param {{ full: { [user: string]: Data } | null, moved: { [user: string]: Data }, serverTime: number }} frame
   * @returns {RunEvent[]}
   */
  moved({ full, moved, serverTime }) {
    const changes = [];
    const ended = full === null ? [] : [...this.#cursors.keys()].filter((user) => !Object.hasOwn(full, user));
    for (const user of ended) {
      this.#cursors.delete(user); // a cursor ends only with its user's presence, so a user who is here has left and returned (8.30)
      changes.push(unnumbered(USER_LEAVE, user, {}, serverTime));
      if (this.#users.has(user)) changes.push(unnumbered(USER_JOIN, user, {}, serverTime));
    }
    for (const [user, at] of Object.entries(full ?? moved)) {
      if (isSameJson(this.#cursors.get(user), at)) continue;
      this.#cursors.set(user, at);
      changes.push(unnumbered(CURSOR_MOVE, user, at, serverTime));
    }
    return changes;
  }
}

/** Owns the position, the roster, and the acknowledgements. */
export class Delivery {
  #context;
  /** @type {Welcome | null} its snapshot is still to come (7.14) */
  #announced = null;
  /** @type {(string | null)[]} the histories that the WebSocket may speak of (7.17) */
  #streamEpochs = [];
  #knownHead = 0;
  #acked = 0;
  #isHolding = false;
  #isTailCertain = false; // a heartbeat came after everything that was sent, and something was missing
  #passedOver = false; // events came while holding, and were not taken

  /** @param {Context} context */
  constructor(context) {
    this.#context = context;
    this.inbox = new Inbox(context.config.inboxHeldMax);
    this.roster = new Roster();
  }

  /**
   * Begin at a position that an earlier page has reached (2.8).
   *
   * @param {string} epoch
   * @param {number} last
   */
  restore(epoch, last) {
    this.inbox.startAt(epoch, last);
    this.#acked = last;
  }

  /** Accept no sequenced events until `release` (7.19). */
  hold() {
    this.#isHolding = true;
    this.#context.timers.cancel("TAIL");
  }

  /**
   * Accept events again. Returns whether events were skipped, which only a resume can deliver.
   *
   * @param {number} now
   */
  release(now) {
    const passedOver = this.#passedOver;
    this.#isHolding = this.#passedOver = false;
    this.#headIs(this.#knownHead, now);
    return passedOver;
  }

  get isHolding() {
    return this.#isHolding;
  }

  /** The history of the WebSocket. While a snapshot of it is skipped it is not ours yet. */
  get streamEpoch() {
    return this.#streamEpochs.at(-1) ?? null;
  }

  /** A WebSocket is about to send our position. */
  greeted() {
    this.#streamEpochs = [this.inbox.epoch];
  }

  /**
   * A WebSocket begins to deliver events, perhaps after a snapshot.
   *
   * @param {Welcome} welcome
   * @param {number} now
   */
  welcomed(welcome, now) {
    this.#checkHistory();
    this.#streamEpochs = welcome.outcome === "resumed" ? [welcome.epoch] : [this.inbox.epoch, welcome.epoch];
    this.#context.handOver(this.roster.full(welcome.activeUsers, welcome.cursorPositions, welcome.serverTime));
    this.#knownHead = 0;
    if (welcome.outcome === "resumed") this.#headIs(welcome.head, now);
    else if (welcome.outcome === "fresh" && this.#context.config.start !== "snapshot") {
      this.#startAt(welcome.epoch, welcome.afterSequence); // 7.16
      this.#streamEpochs = [welcome.epoch];
      this.#headIs(welcome.head, now);
    } else this.#announced = welcome; // 7.14
  }

  /** The WebSocket is lost, and so is the snapshot that it had announced. */
  disconnected() {
    this.#announced = null;
    this.#passedOver = false;
    this.#knownHead = 0;
    this.#context.timers.cancel("TAIL");
    this.#context.timers.cancel("ACK");
  }

  /**
   * The snapshot that a welcome announced.
   *
   * @param {SnapshotFrame} frame
   * @param {number} now
   */
  snapshot(frame, now) {
    this.#checkHistory();
    const announced = this.#announced;
    this.#announced = null;
    if (announced === null) throw new RemoteError(CloseCode.BAD_FRAME, "a snapshot that was not announced by welcome"); // 7.14
    if (this.#isHolding) {
      this.#passedOver = true;
      return;
    }
    this.#takeSnapshot(announced, frame);
    this.#streamEpochs = [announced.epoch];
    this.#headIs(announced.head, now);
  }

  /**
   * A batch over WebSocket. Returns whether an event is missing.
   *
   * @param {readonly RunEvent[]} events
   * @param {number} now
   */
  events(events, now) {
    if (this.#announced !== null) throw new RemoteError(CloseCode.BAD_FRAME, "events before the snapshot that welcome announced"); // 7.14
    this.#checkHistory();
    const { isDelivered, isMissing } = this.#takeEvents(events);
    if (isDelivered) {
      this.#context.timers.cancel("TAIL");
      if (this.#knownHead > this.inbox.last) this.#headIs(this.#knownHead, now);
    }
    return isMissing;
  }

  /**
   * The answer to a poll that was sent when `askedIn` was our epoch (7.17).
   *
   * @param {PollAnswer} answer
   * @param {string | null} askedIn
   * @param {{ takesRoster: boolean }} how
   */
  poll(answer, askedIn, { takesRoster }) {
    if (this.inbox.epoch !== askedIn && this.inbox.epoch !== answer.epoch) return; // the WebSocket has taken us into another history
    if (this.#isHolding)
      this.#passedOver = true; // the next poll delivers it again
    else if (answer.snapshot !== null) this.#takeSnapshot(answer, answer.snapshot);
    else if (answer.outcome === "fresh") this.#startAt(answer.epoch, answer.afterSequence);
    if (answer.epoch === this.inbox.epoch) this.#takeEvents(answer.events);
    if (takesRoster) this.#context.handOver(this.roster.full(answer.activeUsers, answer.cursorPositions, answer.serverTime)); // 7.35
  }

  /** Whether events are known to exist that have not arrived. */
  get isBehind() {
    return this.#knownHead > this.inbox.last && !this.#isHolding;
  }

  /**
   * Everything up to `head` was sent on this stream before: an event that is missing now will not come any more (7.13).
   *
   * @param {number} head
   * @param {number} now
   */
  heartbeat(head, now) {
    this.#headIs(head, now);
    this.#isTailCertain = this.isBehind;
  }

  /**
   * A large frame may be in flight: wait for it, unless it is certain that the missing events are not in it (7.13).
   *
   * @param {number} now
   */
  bytesCame(now) {
    const { config, timers } = this.#context;
    if (timers.has("TAIL") && !this.#isTailCertain) timers.set("TAIL", now + ns(config.tailTimeoutS));
  }

  /**
   * Whether to acknowledge at once; otherwise a timer sees to it (7.18).
   *
   * @param {number} now
   */
  isAckDue(now) {
    const { config, timers } = this.#context;
    const unacknowledged = this.inbox.last - this.#acked;
    if (unacknowledged < config.ackEvents && timers.has("ACK")) return false;
    if (!this.mayAck) return false;
    if (unacknowledged >= config.ackEvents) return true;
    if (unacknowledged > 0) timers.set("ACK", now + ns(config.ackIntervalS));
    return false;
  }

  /** Whether our position is one that the WebSocket's server knows; while a snapshot is passed over it is not. */
  get mayAck() {
    return this.#streamEpochs.length === 1 && this.#streamEpochs[0] === this.inbox.epoch;
  }

  /** @returns {import("./frames.js").Ack} */
  takeAck() {
    this.#context.timers.cancel("ACK");
    this.#acked = this.inbox.last;
    return { type: "ack", sequenceNumber: this.#acked };
  }

  /**
   * Events up to `head` exist. If they do not arrive, something was lost on the way.
   *
   * @param {number} head
   * @param {number} now
   */
  #headIs(head, now) {
    this.#knownHead = Math.max(this.#knownHead, head);
    if (this.isBehind && !this.#context.timers.has("TAIL")) {
      this.#isTailCertain = false;
      this.#context.timers.set("TAIL", now + ns(this.#context.config.tailTimeoutS));
    }
  }

  /** Polling may have taken us into another history than the one that the WebSocket was asked for (7.17). */
  #checkHistory() {
    if (!this.#streamEpochs.includes(this.inbox.epoch)) {
      throw new RemoteError(CloseCode.GOING_AWAY, "this connection is in a history that was left");
    }
  }

  /** @param {readonly RunEvent[]} events */
  #takeEvents(events) {
    if (this.#isHolding) {
      this.#passedOver = true;
      return { isDelivered: false, isMissing: false };
    }
    const { deliver, duplicates, isMissing } = this.inbox.receive(events);
    this.#context.handOver(deliver);
    this.#context.report.duplicates += duplicates;
    return { isDelivered: deliver.length > 0, isMissing };
  }

  /**
   * Begin without a snapshot. A position in this epoch that the other transport has set meanwhile is kept (7.16).
   *
   * @param {string} epoch
   * @param {number} sequenceNumber
   */
  #startAt(epoch, sequenceNumber) {
    if (epoch === this.inbox.epoch) return;
    this.inbox.startAt(epoch, sequenceNumber);
    this.#acked = sequenceNumber;
  }

  /**
   * @param {Welcome | PollAnswer} announced
   * @param {SnapshotFrame} frame
   */
  #takeSnapshot(announced, frame) {
    const isSameEpoch = announced.epoch === this.inbox.epoch;
    const wasAhead = announced.reason === "ahead" && this.inbox.last > announced.head;
    if (isSameEpoch && !wasAhead && frame.sequenceNumber <= this.inbox.last) return; // 7.15
    const { epoch, reason } = announced;
    const { sequenceNumber, state } = frame;
    this.inbox.startAt(epoch, sequenceNumber);
    this.#acked = sequenceNumber;
    this.#context.outcomes.push({
      kind: announced.outcome === "reset" ? "reset" : "snapshot",
      epoch,
      sequenceNumber,
      state,
      reason,
    });
  }
}

/**
 * @param {string} eventType
 * @param {string} userId
 * @param {Data} data
 * @param {number} timestamp
 * @returns {RunEvent}
 */
function unnumbered(eventType, userId, data, timestamp) {
  return { eventType, userId, timestamp, sequenceNumber: null, data, isCritical: false };
}
