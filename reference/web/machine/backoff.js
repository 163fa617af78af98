/**
 * When to reconnect: counts failures, draws waits, and obeys the server's requests to wait.
 *
 * A `goaway` and a `retryAfterMs` override every policy (7.23): clients must not return early to a server that sheds load.
 */

import { NS_PER_MS, ns } from "./timers.js";

/**
 * @typedef {import("./policies.js").Attempt} Attempt
 * @typedef {import("./policies.js").Draws} Draws
 * @typedef {import("./policies.js").ReconnectPolicy} ReconnectPolicy
 */

/** The time before which the server wants no request from this client, in ns; one for all its transports. */
export class AskedWait {
  notBefore = 0;
  /** The time of the attempt that waited for it, with its spread or the policy's own wait (7.23). */
  lastsUntil = 0;
}

/** Counts failures and times attempts for one client on one transport. Times in ns. */
export class Reconnector {
  #asked;
  #policy;
  #draws;
  #purpose;
  #previousS = 0;
  #index = 0;
  /** @type {number | null} */
  #spreadAskedS = null;
  failures = 0;

  /**
   * @param {ReconnectPolicy} policy
   * @param {Draws} draws
   * @param {number} firstSpreadS
   * @param {AskedWait} asked
   * @param {string} purpose names its draws
   */
  constructor(policy, draws, firstSpreadS, asked, purpose = "backoff") {
    this.firstSpreadS = firstSpreadS;
    this.#asked = asked;
    this.#policy = policy;
    this.#draws = draws;
    this.#purpose = purpose;
  }

  /** An attempt failed, or a connection died before it was steady. */
  failed() {
    this.failures += 1;
  }

  /** A connection has been useful for long enough to forget earlier failures. */
  steady() {
    this.failures = 0;
    this.#previousS = 0;
  }

  /** The time that the server asked for; no attempt may be earlier. */
  get notBefore() {
    return this.#asked.notBefore;
  }

  /**
   * The server asked to wait `retryAfterMs`, and for a spread if it named one. Of several requests, the latest time counts (7.23).
   *
   * @param {number} now
   * @param {number} retryAfterMs
   * @param {number | null} spreadMs
   */
  askedToWait(now, retryAfterMs, spreadMs) {
    this.#asked.notBefore = Math.max(this.notBefore, now + retryAfterMs * NS_PER_MS);
    if (spreadMs !== null) this.#spreadAskedS = spreadMs / 1000;
  }

  /**
   * The earliest time of an attempt: now, unless the server asked for a wait and a spread.
   *
   * @param {number} now
   */
  earliest(now) {
    let at = Math.max(now, this.notBefore);
    if (this.#spreadAskedS !== null) {
      at += ns(this.#attempt().uniform(0, this.#spreadAskedS));
      this.#spreadAskedS = null;
      this.#asked.lastsUntil = at;
    }
    return at;
  }

  /**
   * When to try next, or null if the policy has given up. Draws once.
   *
   * A spread that the server named replaces the policy for this attempt; a mere wait comes before the policy's own, so that clients
   * which were refused together do not come back together (7.23).
   *
   * @param {number} now
   * @returns {number | null}
   */
  nextAttemptAt(now) {
    if (this.#spreadAskedS !== null) return this.earliest(now);
    const waitS = this.#policy.waitS(this.#attempt());
    if (waitS === null) return null;
    this.#previousS = waitS;
    const at = Math.max(now, this.notBefore) + ns(waitS);
    if (now < this.notBefore) this.#asked.lastsUntil = at;
    return at;
  }

  /**
   * The time of the next attempt if the machine's network has just come back (7.44); null during a wait that the server asked for.
   *
   * @param {number} now
   * @param {number} sample from [0, 1)
   * @returns {number | null}
   */
  hurry(now, sample) {
    if (now < Math.max(this.notBefore, this.#asked.lastsUntil)) return null;
    return now + ns(this.firstSpreadS * sample);
  }

  /** @returns {Attempt} */
  #attempt() {
    const index = this.#index;
    this.#index += 1;
    return {
      failures: this.failures,
      previousS: this.#previousS,
      firstSpreadS: this.firstSpreadS,
      uniform: (lowS, highS, aspect = "") => lowS + (highS - lowS) * this.#draws.uniform(this.#purpose + aspect, index),
    };
  }
}
