/**
 * Polling: how a session goes on when no WebSocket gets through (protocol 7.26, 7.27).
 *
 * One poll and one publish request may be under way at a time. The session, its position, its outbox and its inbox are the same as over
 * WebSocket. Every request carries the generation that polling had when it was sent: if the server says that a request was superseded,
 * and the session has opened something newer since, then it was superseded by ourselves (7.30).
 */

import { POLL } from "./report.js";
import { ns, rounded } from "./timers.js";

/**
 * @typedef {import("./backoff.js").Reconnector} Reconnector
 * @typedef {import("./context.js").Context} Context
 * @typedef {import("./events.js").Data} Data
 * @typedef {import("./frames.js").FallbackReason} FallbackReason
 * @typedef {import("./frames.js").Message} Message
 * @typedef {import("./frames.js").RequestFrame} RequestFrame
 * @typedef {import("./frames.js").RequestKind} RequestKind
 */

export class Polling {
  #context;
  #clientId;
  #reconnector;
  /** @type {number | null} of the request under way, null if there is none */
  #pollGeneration = null;
  /** @type {number | null} */
  #publishGeneration = null;
  /** @type {number | null} */
  connectionId = null;
  generation = 0;
  /** How far the last WebSocket came, for the server's records. @type {FallbackReason | null} */
  fallback = null;
  /** Our epoch when the last poll was sent. @type {string | null} */
  askedInEpoch = null;
  /** Whether the server has answered a poll since polling was opened: then publishes may leave (7.26). */
  hasArrived = false;
  /** Whether it carries the session (7.42): the last poll that has ended was answered. */
  carries = false;

  /**
   * @param {Context} context
   * @param {string} clientId
   * @param {Reconnector} reconnector
   */
  constructor(context, clientId, reconnector) {
    this.#context = context;
    this.#clientId = clientId;
    this.#reconnector = reconnector;
  }

  /**
   * Whether a publish request may leave: the server has answered a poll, and has not asked for a wait (7.23, 7.26).
   *
   * @param {number} now
   */
  mayPublish(now) {
    return this.hasArrived && this.#publishGeneration === null && now >= this.#reconnector.notBefore;
  }

  /**
   * When polling that opens at `earliest` may poll: at once, or after a wait if the last polls of this client failed (7.25). null if
   * the policy gives up.
   *
   * @param {number} earliest
   */
  firstPollAt(earliest) {
    return this.#reconnector.failures === 0 ? earliest : this.#reconnector.nextAttemptAt(earliest);
  }

  /**
   * When a new connection that ends no wait may poll (7.37).
   *
   * @param {number} now
   */
  nextPollAt(now) {
    const due = this.#context.timers.deadlineOf("POLL");
    return due === null || this.#reconnector.failures === 0 ? now : due;
  }

  /**
   * Begin, or begin again, on a connection of its own.
   *
   * @param {number} connectionId
   * @param {number} generation
   * @param {string | null} token
   * @param {number} firstPollAt
   */
  open(connectionId, generation, token, firstPollAt) {
    this.#context.actions.push({ kind: "open", connectionId, transport: "polling", token });
    this.connectionId = connectionId;
    this.generation = generation;
    this.#pollAt(firstPollAt);
  }

  /** Stop; answers that are still under way are no longer waited for. */
  close() {
    if (this.connectionId === null) return;
    this.#context.actions.push({ kind: "close", connectionId: this.connectionId, code: null, message: "polling has ended" });
    this.connectionId = null;
    this.hasArrived = this.carries = false;
    this.#pollGeneration = this.#publishGeneration = null;
    this.#context.report.pollLost();
    for (const timer of /** @type {const} */ (["POLL", "POLL_LIMIT", "PUBLISH_LIMIT"])) this.#context.timers.cancel(timer);
  }

  /**
   * @param {{ epoch: string | null, last: number }} position
   * @param {string | null} sessionId
   * @param {number} queuedMessages
   * @param {number} now
   */
  poll({ epoch, last }, sessionId, queuedMessages, now) {
    const { config, report } = this.#context;
    this.askedInEpoch = epoch;
    this.#pollGeneration = this.generation;
    this.#send({
      type: "poll",
      afterSequence: epoch === null ? null : last,
      epoch,
      waitMs: rounded(config.pollWaitS * 1000),
      clientId: this.#clientId,
      sessionId,
      generation: this.generation,
      start: config.start,
      fallback: this.fallback,
      report: report.take(POLL, queuedMessages),
    });
    this.#context.timers.set("POLL_LIMIT", now + ns(config.pollWaitS + config.requestTimeoutS));
  }

  /**
   * There is something to read that the last poll did not leave with us.
   *
   * @param {number} now
   */
  pollSoon(now) {
    if (this.#context.timers.has("POLL")) this.#pollAt(now);
  }

  /**
   * @param {Message[]} messages
   * @param {Data | null} cursor
   * @param {number} now
   */
  publish(messages, cursor, now) {
    this.#publishGeneration = this.generation;
    this.#send({ type: "publishMany", clientId: this.#clientId, generation: this.generation, messages, cursor });
    this.#context.timers.set("PUBLISH_LIMIT", now + ns(this.#context.config.requestTimeoutS));
  }

  /**
   * An answer to the poll under way came. Returns false if there was none under way.
   *
   * @param {boolean} hasMore
   * @param {number} now
   */
  pollAnswered(hasMore, now) {
    if (this.#pollGeneration === null) return false;
    this.#pollGeneration = null;
    this.hasArrived = this.carries = true;
    this.#context.report.pollArrived();
    this.#reconnector.steady();
    this.#context.timers.cancel("POLL_LIMIT");
    this.#pollAt(hasMore ? now : now + ns(this.#context.config.pollIntervalS)); // 7.26
    return true;
  }

  /** An answer to the publish request under way came. Returns false if there was none under way. */
  publishAnswered() {
    if (this.#publishGeneration === null) return false;
    this.#publishGeneration = null;
    this.#context.timers.cancel("PUBLISH_LIMIT");
    return true;
  }

  /**
   * A request failed (7.27).
   *
   * @param {RequestKind} request
   * @param {number | null} retryAfterMs
   * @param {number} now
   * @returns {{ generation: number | null, at: number | null }} the generation that it had, and when to send again (null: the policy
   *   gives up)
   */
  failed(request, retryAfterMs, now) {
    this.#reconnector.failed();
    if (retryAfterMs !== null) this.#reconnector.askedToWait(now, retryAfterMs, null);
    const next = this.#reconnector.nextAttemptAt(now);
    const at = next === null ? null : Math.max(next, now + ns(this.#context.config.pollIntervalS));
    if (request === "poll") {
      const generation = this.#pollGeneration;
      this.#pollGeneration = null;
      this.carries = false;
      this.#context.report.pollLost();
      this.#context.timers.cancel("POLL_LIMIT");
      if (at !== null) this.#context.timers.set("POLL", at);
      return { generation, at };
    }
    const generation = this.#publishGeneration;
    this.#publishGeneration = null;
    this.#context.timers.cancel("PUBLISH_LIMIT");
    return { generation, at };
  }

  /**
   * A large answer may be on its way: give it time (7.27).
   *
   * @param {RequestKind} request
   * @param {number} now
   */
  bytesCame(request, now) {
    const timer = request === "poll" ? "POLL_LIMIT" : "PUBLISH_LIMIT";
    const limitAt = now + ns(this.#context.config.requestTimeoutS);
    const deadline = this.#context.timers.deadlineOf(timer);
    if (deadline !== null && deadline < limitAt) this.#context.timers.set(timer, limitAt);
  }

  /**
   * But not before the time that the server has asked for, perhaps in its answer to another request (7.23).
   *
   * @param {number} at
   */
  #pollAt(at) {
    this.#context.timers.set("POLL", Math.max(at, this.#reconnector.notBefore));
  }

  /** @param {RequestFrame} frame */
  #send(frame) {
    const connectionId = /** @type {number} */ (this.connectionId); // only open polling has timers that send
    this.#context.actions.push({ kind: "send", connectionId, frame });
  }
}
