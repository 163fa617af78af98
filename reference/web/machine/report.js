/**
 * The client's report to the server: counts of its own, kept until they are acknowledged (protocol 7.41).
 *
 * A report leaves with a ping and is settled by the pong, or with a poll and is settled by its answer; a report that was in flight
 * when the connection was lost, or the poll failed, is sent again. So a count may be told twice, and is never left out.
 */

import { MILLISECONDS_MAX, RECOVERIES_MAX, TALLY_MAX } from "./frames.js";
import { ANSWERS_AWAITED_MAX } from "./policies.js";
import { NS_PER_MS } from "./timers.js";

/**
 * @typedef {import("./frames.js").Report} Report
 * @typedef {import("./frames.js").Recovery} Recovery
 */

/** In place of a ping's nonce: the poll that is under way. */
export const POLL = -1;

/** Bounded: counts, the last few outages, and the reports of the last few pings. Times in ns. */
export class ReportTally {
  failedAttempts = 0;
  gaps = 0;
  duplicates = 0;
  failedMessages = 0;
  /** @type {Recovery[]} */
  #recoveries = [];
  /** @type {Map<number, Report>} by nonce */
  #underWay = new Map();
  /** @type {number | null} */
  #lostAt = null;
  /** @type {number | null} */
  #silentNs = null;

  /**
   * The session has lost its transport; `silentSince`: it was given up because nothing had been heard since then.
   *
   * @param {number} now
   * @param {number | null} silentSince
   */
  lost(now, silentSince) {
    if (this.#lostAt !== null) return;
    this.#lostAt = now;
    this.#silentNs = silentSince === null ? null : now - silentSince;
  }

  /**
   * The session is carried again.
   *
   * @param {number} now
   */
  recovered(now) {
    if (this.#lostAt === null) return;
    const silenceMs = this.#silentNs === null ? null : wholeMs(this.#silentNs);
    this.#recoveries.push({ recoveryMs: wholeMs(now - this.#lostAt), silenceMs });
    this.#recoveries = this.#recoveries.slice(-RECOVERIES_MAX);
    this.#lostAt = this.#silentNs = null;
  }

  /**
   * The report for the ping with that nonce, or for POLL; null if there is nothing to report.
   *
   * @param {number} nonce
   * @param {number} queuedMessages
   * @returns {Report | null}
   */
  take(nonce, queuedMessages) {
    const counts = this.failedAttempts || this.gaps || this.duplicates || this.failedMessages;
    if (!counts && !queuedMessages && this.#recoveries.length === 0) return null;
    const report = {
      failedAttempts: Math.min(this.failedAttempts, TALLY_MAX),
      gaps: Math.min(this.gaps, TALLY_MAX),
      duplicates: Math.min(this.duplicates, TALLY_MAX),
      failedMessages: Math.min(this.failedMessages, TALLY_MAX),
      queuedMessages: Math.min(queuedMessages, TALLY_MAX),
      recoveries: this.#recoveries,
    };
    this.failedAttempts = this.gaps = this.duplicates = this.failedMessages = 0;
    this.#recoveries = [];
    this.#underWay.set(nonce, report);
    this.#joinOldest();
    return report;
  }

  /**
   * A pong came: everything up to its ping has arrived.
   *
   * @param {number} nonce
   */
  arrived(nonce) {
    for (const number of [...this.#underWay.keys()]) if (number <= nonce && number !== POLL) this.#underWay.delete(number);
  }

  /** The answer to the poll came. */
  pollArrived() {
    this.#underWay.delete(POLL);
  }

  /** The WebSocket is gone, and nobody knows how much of it has arrived. */
  websocketLost() {
    for (const nonce of [...this.#underWay.keys()].reverse()) if (nonce !== POLL) this.#takeBack(nonce);
  }

  /** The poll failed, or is no longer waited for. */
  pollLost() {
    this.#takeBack(POLL);
  }

  /** A client remembers its last few pings: the report of an older one is kept with that of the next. */
  #joinOldest() {
    const pings = [...this.#underWay.keys()].filter((nonce) => nonce !== POLL);
    if (pings.length <= ANSWERS_AWAITED_MAX) return;
    const [first, second] = pings.map((nonce) => this.#underWay.get(nonce));
    if (first === undefined || second === undefined) return;
    this.#underWay.delete(pings[0]);
    this.#underWay.set(pings[1], {
      failedAttempts: first.failedAttempts + second.failedAttempts,
      gaps: first.gaps + second.gaps,
      duplicates: first.duplicates + second.duplicates,
      failedMessages: first.failedMessages + second.failedMessages,
      queuedMessages: 0,
      recoveries: [...first.recoveries, ...second.recoveries].slice(-RECOVERIES_MAX),
    });
  }

  /** @param {number} nonce */
  #takeBack(nonce) {
    const report = this.#underWay.get(nonce);
    if (report === undefined) return;
    this.#underWay.delete(nonce);
    this.failedAttempts += report.failedAttempts;
    this.gaps += report.gaps;
    this.duplicates += report.duplicates;
    this.failedMessages += report.failedMessages;
    this.#recoveries = [...report.recoveries, ...this.#recoveries].slice(-RECOVERIES_MAX);
  }
}

/** @param {number} duration */
function wholeMs(duration) {
  return Math.min(Math.floor(duration / NS_PER_MS), MILLISECONDS_MAX);
}
