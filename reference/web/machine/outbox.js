/**
 * The outbox: publishes in the order in which they were made, kept until the server has answered them (protocol 7.1 to 7.10).
 *
 * A message is *queued* until it is first sent, and only then is given its number; from then on it is *unanswered*, and a copy of it may
 * be anywhere. So a queued message can be dropped without leaving a hole, and an unanswered one that is given up leaves a hole that the
 * next publish declares (`after`), because the server must never wait for a number that will not come.
 *
 * The outbox can outlive its page. `takeChanges` gives the changes since the last call, and `Remembered` is the sum of all
 * changes. A driver that stores them must have stored a message's number before the message leaves: then a page that is
 * killed at any moment sends it again under the same number.
 */

import { OutboxFull } from "./errors.js";
import { KEY_FIELD } from "./events.js";

/**
 * @typedef {import("./events.js").Data} Data
 * @typedef {import("./frames.js").Message} Message
 * @typedef {import("./config.js").ClientConfig} ClientConfig
 *
 * A message as it is stored. `queuedAt` in ns; `number` is its clientSequence, null before it is first sent.
 * @typedef {{ ticket: number, eventType: string, data: Data, sizeBytes: number, queuedAt: number, number: number | null,
 *   isPerhapsLost: boolean, tries: number }} StoredMessage
 * @typedef {{ nextTicket: number, nextNumber: number, lastAccepted: number }} Numbering
 * @typedef {{ messages: readonly StoredMessage[], numbering: Numbering }} RememberedOutbox
 * @typedef {{ put: StoredMessage[], removed: number[] }} OutboxChanges removed: tickets; the numbering may have changed as well
 */

/** One message in the outbox. `ticket` is its name to the application; times in ns. */
export class Queued {
  /** @type {number | null} */
  clientSequence = null;
  inFlight = false;
  /** Sent copies without an answer: while there is one, it may have arrived. */
  copiesOut = 0;
  /** A copy was in flight when a history was lost: it may have arrived there, whatever its outcome in the next one. */
  isPerhapsLost = false;
  tries = 0;

  /**
   * @param {number} ticket
   * @param {string} eventType
   * @param {Data} data
   * @param {number} sizeBytes
   * @param {number} queuedAt
   */
  constructor(ticket, eventType, data, sizeBytes, queuedAt) {
    this.ticket = ticket;
    this.eventType = eventType;
    this.data = data;
    this.sizeBytes = sizeBytes;
    this.queuedAt = queuedAt;
  }

  /** A newer message of the same key may replace this one; null: every message of its type counts. */
  get conflationKey() {
    const field = KEY_FIELD.get(this.eventType);
    return field === undefined ? null : `${this.eventType} ${this.data[field]}`;
  }

  /** @returns {StoredMessage} */
  get stored() {
    const { ticket, eventType, data, sizeBytes, queuedAt, clientSequence, isPerhapsLost, tries } = this;
    return { ticket, eventType, data, sizeBytes, queuedAt, number: clientSequence, isPerhapsLost, tries };
  }
}

/** Bounded in messages and bytes (7.2); its owner bounds their age with `expire`. */
export class Outbox {
  #messagesMax;
  #bytesMax;
  #policy;
  #unansweredMax;
  /** @type {Map<number, Queued>} by clientSequence, ascending */
  #unanswered = new Map();
  /** @type {Map<number, Queued>} by ticket, ascending */
  #queue = new Map();
  #bytes = 0;
  #nextTicket = 1;
  #nextSequence = 1;
  #lastAccepted = 0;
  /** @type {Map<number, Queued>} by ticket: messages to be stored */
  #changed = new Map();
  /** @type {Set<number>} tickets of messages that are gone */
  #removed = new Set();
  #isNumberingChanged = false;

  /** @param {ClientConfig} config */
  constructor(config) {
    this.#messagesMax = config.outboxMessagesMax;
    this.#bytesMax = config.outboxBytesMax;
    this.#unansweredMax = config.unansweredMax;
    this.#policy = config.outboxPolicy;
  }

  get size() {
    return this.#unanswered.size + this.#queue.size;
  }

  get sizeBytes() {
    return this.#bytes;
  }

  get unanswered() {
    return this.#unanswered.size;
  }

  /** All messages, oldest first. @returns {Queued[]} */
  get messages() {
    return [...this.#unanswered.values(), ...this.#queue.values()];
  }

  // ---- across reloads of a page ----

  /**
   * Continue the outbox of an earlier page. A message with a number may have been sent; only the server knows.
   *
   * @param {RememberedOutbox} remembered
   */
  restore({ messages, numbering }) {
    this.#nextTicket = numbering.nextTicket;
    this.#nextSequence = numbering.nextNumber;
    this.#lastAccepted = numbering.lastAccepted;
    const numbered = messages.filter((stored) => stored.number !== null);
    numbered.sort((a, b) => Number(a.number) - Number(b.number));
    const queued = messages.filter((stored) => stored.number === null);
    queued.sort((a, b) => a.ticket - b.ticket);
    for (const stored of [...numbered, ...queued]) {
      const message = new Queued(stored.ticket, stored.eventType, stored.data, stored.sizeBytes, stored.queuedAt);
      message.isPerhapsLost = stored.isPerhapsLost;
      message.tries = stored.tries;
      this.#bytes += stored.sizeBytes;
      if (stored.number === null) this.#queue.set(stored.ticket, message);
      else {
        message.clientSequence = stored.number;
        message.copiesOut = 1;
        this.#unanswered.set(stored.number, message);
      }
    }
  }

  /** @returns {Numbering} */
  get numbering() {
    return { nextTicket: this.#nextTicket, nextNumber: this.#nextSequence, lastAccepted: this.#lastAccepted };
  }

  /** The changes since the last call, or null. @returns {OutboxChanges | null} */
  takeChanges() {
    if (this.#changed.size === 0 && this.#removed.size === 0 && !this.#isNumberingChanged) return null;
    const changes = {
      put: [...this.#changed.values()].map((message) => message.stored),
      removed: [...this.#removed],
    };
    this.#changed.clear();
    this.#removed.clear();
    this.#isNumberingChanged = false;
    return changes;
  }

  // ---- inputs from the application ----

  /**
   * Queue one message; returns its ticket and the messages that had to be dropped for it.
   *
   * @param {string} eventType
   * @param {Data} data
   * @param {number} sizeBytes
   * @param {number} now
   * @returns {{ ticket: number, dropped: Queued[] }}
   * @throws {OutboxFull}
   */
  add(eventType, data, sizeBytes, now) {
    const message = new Queued(this.#nextTicket, eventType, data, sizeBytes, now);
    const dropped = this.#makeRoom(message);
    this.#nextTicket += 1;
    this.#queue.set(message.ticket, message);
    this.#bytes += sizeBytes;
    this.#isChanged(message);
    return { ticket: message.ticket, dropped };
  }

  // ---- inputs from the server ----

  /**
   * The server knows this client id from an earlier life up to that number: number on from there (7.5).
   *
   * @param {number} lastClientSequence
   */
  resumeNumbering(lastClientSequence) {
    if (this.#nextSequence === 1) {
      this.#nextSequence = lastClientSequence + 1;
      this.#lastAccepted = lastClientSequence;
      this.#isNumberingChanged = true;
    } else if (lastClientSequence < this.#lastAccepted) {
      this.#lastAccepted = 0; // it has forgotten this client id, or answers from before: declare earlier publishes (7.6)
      this.#isNumberingChanged = true;
    }
  }

  /**
   * The server allows fewer than we would send (7.4).
   *
   * @param {number} unansweredMax
   */
  keepUnansweredBelow(unansweredMax) {
    this.#unansweredMax = Math.min(this.#unansweredMax, unansweredMax);
  }

  /** The server lost its memory together with its history: it knows no number of ours (7.7). */
  newEpoch() {
    this.#lastAccepted = 0;
    this.#isNumberingChanged = true;
    for (const message of this.#unanswered.values()) {
      if (message.copiesOut > 0 && !message.isPerhapsLost) {
        message.isPerhapsLost = true;
        this.#isChanged(message);
      }
    }
  }

  /**
   * Messages to send now, in order: first unanswered ones that are not in flight, then queued ones, within the window (7.4, 7.8).
   *
   * @param {number | null} bytesMax no more than fits into that many bytes, but at least one message (7.26); null: no limit
   * @returns {Message[]}
   */
  takeSendable(bytesMax) {
    /** @type {Message[]} */
    const messages = [];
    let room = bytesMax ?? Infinity;
    let before = 0;
    for (const [sequence, message] of this.#unanswered) {
      if (!message.inFlight) {
        room -= message.sizeBytes;
        if (room < 0 && messages.length > 0) return messages;
        messages.push(this.#send(sequence, message, before));
      }
      before = sequence;
    }
    for (const [ticket, message] of this.#queue) {
      if (this.#unanswered.size >= this.#unansweredMax) break;
      room -= message.sizeBytes;
      if (room < 0 && messages.length > 0) break;
      this.#queue.delete(ticket);
      const sequence = this.#nextSequence;
      this.#nextSequence += 1;
      message.clientSequence = sequence;
      this.#unanswered.set(sequence, message);
      this.#isChanged(message);
      messages.push(this.#send(sequence, message, before));
      before = sequence;
    }
    return messages;
  }

  /** Whatever was in flight may have arrived or not; it will be sent again. */
  connectionLost() {
    for (const message of this.#unanswered.values()) message.inFlight = false;
  }

  /**
   * The server has it. Null if this was known, or given up.
   *
   * @param {number} clientSequence
   */
  accepted(clientSequence) {
    const message = this.#remove(clientSequence);
    if (message !== null) this.#lastAccepted = Math.max(this.#lastAccepted, clientSequence);
    return message;
  }

  /**
   * The server will never take it. Null if nobody waits for that answer any more.
   *
   * @param {number} clientSequence
   */
  refused(clientSequence) {
    const message = this.#remove(clientSequence);
    if (message !== null) message.copiesOut -= 1;
    return message;
  }

  /**
   * A retryable rejection of a message in flight: it and all after it are to be sent again (7.10).
   *
   * Only the rejection of the oldest unanswered message counts as a try of it; the ones behind it fell with it. `asOutOfOrder`: the
   * server misses an earlier publish. If it had accepted that one, it has lost its memory since; the next copy says that nothing before
   * it is to come, and this one was no try.
   *
   * @param {number} clientSequence
   * @param {number} retryLimit
   * @param {{ asOutOfOrder: boolean }} why
   * @returns {{ again: boolean, failed: Queued | null }} whether to send again; the message itself if its tries are used up
   */
  putOff(clientSequence, retryLimit, { asOutOfOrder }) {
    const message = this.#unanswered.get(clientSequence);
    if (message === undefined) return { again: false, failed: null };
    message.copiesOut -= 1;
    if (!message.inFlight) return { again: false, failed: null };
    const isOldest = this.#oldest() === message;
    for (const [sequence, later] of this.#unanswered) if (sequence >= clientSequence) later.inFlight = false;
    if (isOldest && asOutOfOrder && this.#lastAccepted > 0) {
      this.#lastAccepted = 0;
      this.#isNumberingChanged = true;
    } else if (isOldest) {
      message.tries += 1;
      this.#isChanged(message);
      if (message.tries > retryLimit) return { again: true, failed: this.#remove(clientSequence) };
    }
    return { again: true, failed: null };
  }

  /** How often the oldest unanswered message has been put off. */
  triesOfOldest() {
    return this.#oldest()?.tries ?? 0;
  }

  // ---- giving up ----

  /** When the oldest message that is not in flight was queued, in ns, or null. */
  oldestWaitingSince() {
    for (const message of this.#waiting()) return message.queuedAt;
    return null;
  }

  /**
   * Give up messages that were queued at or before that time and are not in flight now (7.9).
   *
   * @param {number} queuedBefore
   */
  expire(queuedBefore) {
    return this.#dropWaiting((message) => message.queuedAt <= queuedBefore);
  }

  /**
   * Give up messages that are larger than the server takes and not in flight (7.3).
   *
   * @param {number} bytesMax
   */
  giveUpLargerThan(bytesMax) {
    return this.#dropWaiting((message) => message.sizeBytes > bytesMax);
  }

  /** Give up everything, oldest first. */
  clear() {
    const everything = this.messages;
    for (const message of everything) this.#isGone(message);
    this.#unanswered.clear();
    this.#queue.clear();
    this.#bytes = 0;
    return everything;
  }

  // ---- internal ----

  #oldest() {
    for (const message of this.#unanswered.values()) return message;
    return null;
  }

  /**
   * @param {number} sequence
   * @param {Queued} message
   * @param {number} before
   * @returns {Message}
   */
  #send(sequence, message, before) {
    message.inFlight = true;
    message.copiesOut += 1;
    // The server knows that `sequence - 1` is settled if it follows in this very order, or was accepted (7.6).
    const follows = before === sequence - 1 || (before === 0 && this.#lastAccepted === sequence - 1);
    return { clientSequence: sequence, eventType: message.eventType, data: message.data, after: follows ? null : before };
  }

  *#waiting() {
    for (const message of this.#unanswered.values()) if (!message.inFlight) yield message;
    yield* this.#queue.values();
  }

  /** @param {(message: Queued) => boolean} isToGo */
  #dropWaiting(isToGo) {
    const gone = [...this.#waiting()].filter(isToGo);
    for (const message of gone) this.#drop(message);
    return gone;
  }

  /** @param {Queued} message */
  #makeRoom(message) {
    if (message.sizeBytes > this.#bytesMax) {
      throw new OutboxFull(`a message of ${message.sizeBytes} bytes; the outbox holds at most ${this.#bytesMax}`);
    }
    /** @type {Set<Queued>} */
    const dropped = new Set();
    let bytes = this.#bytes + message.sizeBytes;
    while (this.size - dropped.size >= this.#messagesMax || bytes > this.#bytesMax) {
      const victim = this.#victimFor(message, dropped);
      if (victim === null) {
        throw new OutboxFull(
          `${this.size} messages of ${this.#bytes} bytes wait; the limits are ${this.#messagesMax} and ${this.#bytesMax}. ` +
            "Wait for answers, or choose another outboxPolicy",
        );
      }
      dropped.add(victim);
      bytes -= victim.sizeBytes;
    }
    for (const old of dropped) this.#drop(old);
    return [...dropped];
  }

  /**
   * The message that the policy gives up for `message`: only ever one that was never sent (7.2).
   *
   * @param {Queued} message
   * @param {Set<Queued>} dropped
   */
  #victimFor(message, dropped) {
    const key = message.conflationKey;
    for (const old of this.#queue.values()) {
      const isNewer = this.#policy === "conflate" && key !== null && old.conflationKey === key;
      if (!dropped.has(old) && (this.#policy === "drop_oldest" || isNewer)) return old;
    }
    return null;
  }

  /** @param {Queued} message */
  #drop(message) {
    if (message.clientSequence !== null) this.#remove(message.clientSequence);
    else {
      this.#queue.delete(message.ticket);
      this.#bytes -= message.sizeBytes;
      this.#isGone(message);
    }
  }

  /** @param {number} clientSequence */
  #remove(clientSequence) {
    const message = this.#unanswered.get(clientSequence);
    if (message === undefined) return null;
    this.#unanswered.delete(clientSequence);
    this.#bytes -= message.sizeBytes;
    this.#isGone(message);
    return message;
  }

  /** @param {Queued} message */
  #isChanged(message) {
    this.#changed.set(message.ticket, message);
  }

  /** @param {Queued} message */
  #isGone(message) {
    this.#changed.delete(message.ticket);
    this.#removed.add(message.ticket);
  }
}
