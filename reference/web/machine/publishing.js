/**
 * Publishing: the outbox, the waiting cursor, and the effects of answers and rejections (protocol 7.1 to 7.11).
 *
 * It does not know which transport carries its messages: it hands out sendable messages, and takes answers, rejections and losses. It
 * is silent while a retryable rejection is being waited out.
 */

import { ANSWER_EXPIRED, FailureCode, InvalidEvent, NUMBER_USED_UP, OUT_OF_ORDER } from "./errors.js";
import { checkCursor, encodedBytes } from "./events.js";
import { FRAME_BYTES_MAX } from "./frames.js";
import { Outbox } from "./outbox.js";
import { capped } from "./policies.js";
import { NS_PER_MS, ns } from "./timers.js";

/**
 * @typedef {import("./context.js").Context} Context
 * @typedef {import("./events.js").Data} Data
 * @typedef {import("./events.js").EventRegistry} EventRegistry
 * @typedef {import("./frames.js").Limits} Limits
 * @typedef {import("./frames.js").Message} Message
 * @typedef {import("./health.js").HealthRecord} HealthRecord
 * @typedef {import("./outbox.js").Queued} Queued
 */

const RETRY_CAP_S = 30; // 7.10
/** The most that a publish frame is larger than its type and its data. */
const FRAME_OVERHEAD_BYTES = 160;

export class Publishing {
  #context;
  #registry;
  #record;
  /** @type {Data | null} the latest */
  #cursor = null;
  #isCursorSent = false;
  /** @type {number | null} the server put a message off until then */
  #askedUntil = null;
  #frameBytesMax = FRAME_BYTES_MAX; // 7.3
  /** Of the last welcome. @type {Limits | null} */
  limits = null;
  /** Nothing waits, as after most inputs: then there is no need to ask. */
  isEmpty = true;

  /**
   * @param {Context} context
   * @param {EventRegistry} registry
   * @param {HealthRecord} record
   */
  constructor(context, registry, record) {
    this.#context = context;
    this.#registry = registry;
    this.#record = record;
    this.outbox = new Outbox(context.config);
  }

  /**
   * Queue one event; returns its ticket.
   *
   * @param {string} eventType
   * @param {unknown} data
   * @param {number} now
   */
  publish(eventType, data, now) {
    const copy = this.#registry.checkPublish(eventType, data); // 1.6
    const sizeBytes = this.#frameBytes(copy) + eventType.length;
    const { ticket, dropped } = this.outbox.add(eventType, copy, sizeBytes, now);
    for (const message of dropped) this.#fail(message, FailureCode.DROPPED, "dropped to make room for a newer publish");
    this.isEmpty = false;
    this.watchAge();
    return ticket;
  }

  /**
   * Keep the latest cursor for the next chance to send it (7.11).
   *
   * @param {unknown} data
   */
  moveCursor(data) {
    this.#cursor = checkCursor(data);
    this.#isCursorSent = this.isEmpty = false;
  }

  /**
   * The messages that can be sent now, in order, and the cursor if it has moved and may be sent again.
   *
   * @param {number} now
   * @param {{ asOneBody: boolean }} how it all has to fit into one request
   * @returns {{ messages: Message[], cursor: Data | null }}
   */
  take(now, { asOneBody }) {
    const { config, timers } = this.#context;
    const isCursorWaiting = this.#cursor !== null && !this.#isCursorSent;
    if (this.outbox.size === 0 && !isCursorWaiting) {
      this.isEmpty = true;
      return { messages: [], cursor: null };
    }
    if (timers.has("RESEND")) return { messages: [], cursor: null }; // 7.10, 7.11
    const messages = this.outbox.takeSendable(asOneBody ? this.#frameBytesMax : null); // 7.26
    this.watchAge();
    if (!isCursorWaiting || timers.has("CURSOR")) return { messages, cursor: null };
    timers.set("CURSOR", now + ns(asOneBody ? config.pollIntervalS : config.cursorIntervalS)); // 7.11
    this.#isCursorSent = true;
    return { messages, cursor: this.#cursor };
  }

  /**
   * The server's answer to one message, over either transport.
   *
   * @param {import("./frames.js").Accepted | import("./frames.js").Rejected} result
   * @param {number} now
   * @param {string | null} epoch of the history that it speaks of (7.17)
   */
  receive(result, now, epoch) {
    if (result.type === "accepted") {
      const message = this.outbox.accepted(result.clientSequence);
      if (message !== null) {
        this.#record.accepted += 1;
        const { sequenceNumber, duplicate } = result;
        this.#context.outcomes.push({ kind: "accepted", ticket: message.ticket, sequenceNumber, duplicate, epoch });
      }
    } else if (result.retryable) this.#putOff(result, now);
    else {
      const message = this.outbox.refused(result.clientSequence);
      if (message !== null) this.#fail(message, result.code, result.message, { serverCounts: true });
    }
    this.watchAge();
  }

  /** The wait is over. */
  resend() {
    this.#askedUntil = null;
  }

  /**
   * Send nothing before `at`, nor before the time that a rejection has named (7.10).
   *
   * @param {number} at
   */
  waitUntil(at) {
    this.#context.timers.set("RESEND", Math.max(at, this.#askedUntil ?? at));
  }

  /** Messages in flight are sent again on the next connection, but not before the time that the server asked for (7.8, 7.10). */
  connectionLost() {
    this.#context.timers.cancel("RESEND");
    this.#context.timers.cancel("CURSOR");
    if (this.#askedUntil !== null) this.waitUntil(this.#askedUntil);
    this.#isCursorSent = this.isEmpty = false;
    this.outbox.connectionLost();
    this.watchAge();
  }

  /**
   * A connection begins with the newest number of ours that the server has taken.
   *
   * @param {number} lastClientSequence
   * @param {{ isReset: boolean }} how
   */
  serverKnows(lastClientSequence, { isReset }) {
    this.outbox.resumeNumbering(lastClientSequence);
    if (isReset) this.outbox.newEpoch();
  }

  /**
   * Give up messages that have waited for too long (7.9).
   *
   * @param {number} now
   */
  expire(now) {
    for (const message of this.outbox.expire(now - ns(this.#context.config.outboxAgeMaxS))) {
      this.#fail(message, FailureCode.EXPIRED, "waited for a connection for too long");
    }
    this.watchAge();
  }

  /**
   * The session ends: whatever is left fails visibly (7.39).
   *
   * @param {string} reason
   */
  giveUp(reason) {
    for (const message of this.outbox.clear()) this.#fail(message, FailureCode.CLOSED, reason);
  }

  watchAge() {
    const since = this.outbox.oldestWaitingSince();
    if (since === null) this.#context.timers.cancel("EXPIRE");
    else this.#context.timers.set("EXPIRE", since + ns(this.#context.config.outboxAgeMaxS));
  }

  /**
   * The server has told its limits; a message that waits and is too large for it fails visibly (7.3).
   *
   * @param {Limits} limits
   */
  keepLimits(limits) {
    this.limits = limits;
    this.#frameBytesMax = limits.frameBytesMax;
    this.outbox.keepUnansweredBelow(limits.unansweredMax); // 7.4
    for (const message of this.outbox.giveUpLargerThan(limits.frameBytesMax)) {
      this.#fail(message, FailureCode.TOO_BIG, `its frame is larger than the ${limits.frameBytesMax} bytes that this server takes`);
    }
  }

  /** @param {Data} data */
  #frameBytes(data) {
    const sizeBytes = encodedBytes(data) + FRAME_OVERHEAD_BYTES;
    if (sizeBytes > this.#frameBytesMax) {
      throw new InvalidEvent(`a frame of ${sizeBytes} bytes; the server takes ${this.#frameBytesMax}. Send less, or a reference to it`);
    }
    return sizeBytes;
  }

  /**
   * @param {import("./frames.js").Rejected} rejected
   * @param {number} now
   */
  #putOff(rejected, now) {
    const { config } = this.#context;
    const asOutOfOrder = rejected.code === OUT_OF_ORDER;
    const { again, failed } = this.outbox.putOff(rejected.clientSequence, config.retryLimit, { asOutOfOrder });
    if (failed !== null) this.#fail(failed, rejected.code, `${rejected.message} (tried ${failed.tries} times)`);
    if (!again) return;
    const tries = Math.max(1, this.outbox.triesOfOldest());
    const at = now + ns(capped(config.retryBaseS, 2, tries - 1, RETRY_CAP_S)); // 7.10
    if (rejected.retryAfterMs !== null) {
      this.#askedUntil = Math.max(this.#askedUntil ?? 0, now + rejected.retryAfterMs * NS_PER_MS);
    }
    this.waitUntil(at);
  }

  /**
   * @param {Queued} message
   * @param {string} code
   * @param {string} reason
   * @param {{ serverCounts?: boolean }} [how] it was rejected for good, which the server counts itself
   */
  #fail(message, code, reason, { serverCounts = false } = {}) {
    this.#record.failed += 1;
    if (!serverCounts) this.#context.report.failedMessages += 1;
    const { ticket, eventType, data } = message;
    const mayHaveArrived = mayStand(message, code);
    this.#context.outcomes.push({ kind: "failed", ticket, eventType, data, code, message: reason, mayHaveArrived });
  }
}

/**
 * Whether a publish that is given up may yet stand in a log: a copy of it is out, and its number was not used up; or one was out when a
 * history was lost (7.9).
 *
 * @param {Queued} message
 * @param {string} code
 */
function mayStand(message, code) {
  if (code === ANSWER_EXPIRED || message.isPerhapsLost) return true;
  return message.copiesOut > 0 && !NUMBER_USED_UP.includes(code);
}
