/**
 * Policies: when to connect again, when polling takes over, when to ping. Formulas without memory of their own.
 *
 * Each gets its facts as arguments and answers in seconds. Chance is drawn by purpose and index (7.24), never from a stream that
 * others share, so the wait before a client's n-th attempt does not depend on anything else.
 */

import { ConfigError } from "./errors.js";

/**
 * A source of chance: the same purpose and index always give the same number in [0, 1).
 *
 * @typedef {{ uniform(purpose: string, index: number): number }} Draws
 *
 * The facts for a reconnect policy. failures: attempts failed since the last steady connection; 0 for the first wait after a live
 * session was lost. previousS: the wait before this one. firstSpreadS: how widely the server wants its clients spread.
 * @typedef {object} Attempt
 * @property {number} failures
 * @property {number} previousS
 * @property {number} firstSpreadS
 * @property {(lowS: number, highS: number, aspect?: string) => number} uniform a draw from U(low, high), in seconds
 *
 * @typedef {{ waitS(attempt: Attempt): number | null }} ReconnectPolicy null: give up for good
 *
 * The facts for a fallback policy. failures: attempts failed in a row. lastsS: for how long nothing has carried the session steadily.
 * @typedef {{ failures: number, lastsS: number }} Trouble
 * @typedef {{ waitS(trouble: Trouble): number | null }} FallbackPolicy 0 or less: now; null: not before another failure
 *
 * The facts for a keepalive policy about a welcomed connection, in seconds: since the last ping, since the last byte from the server,
 * since the oldest ping after which no byte has come (null: something has come after each), and since the oldest ping of which neither the
 * answer nor that of a later one has come. intervalsS: the last intervals between two answers, the oldest first, at most `intervalsMax`.
 * @typedef {{ pingedS: number, heardS: number, unansweredS: number | null, unprovenS: number | null, intervalsS: number[] }} Signs
 * @typedef {{ pingS: number | null, deadS: number | null }} Due in how many seconds; 0 or less: now; null: never
 * @typedef {{ quietMaxS: number | null, intervalsMax?: number, due(signs: Signs): Due }} KeepalivePolicy quietMaxS: the longest silence;
 *   null: for ever
 */

/**
 * min(cap, base * factor^exponent), for any exponent.
 *
 * @param {number} baseS
 * @param {number} factor
 * @param {number} exponent
 * @param {number} capS
 */
export function capped(baseS, factor, exponent, capS) {
  return Math.min(capS, baseS * factor ** exponent);
}

/**
 * Full jitter (7.22): floor + U(0, min(cap, base * factor^(k - 1))) after k failures, U(0, first spread) after a live session.
 *
 * @implements {ReconnectPolicy}
 */
export class FullJitter {
  /** @param {{ baseS?: number, factor?: number, capS?: number, floorS?: number }} [settings] */
  constructor({ baseS = 1, factor = 2, capS = 30, floorS = 0.25 } = {}) {
    if (!(baseS > 0 && capS >= baseS && factor >= 1 && floorS >= 0)) {
      throw new ConfigError(
        `FullJitter: needs baseS > 0, capS >= baseS, factor >= 1 and floorS >= 0; got ${baseS}, ${capS}, ${factor}, ${floorS}`,
      );
    }
    this.baseS = baseS;
    this.factor = factor;
    this.capS = capS;
    this.floorS = floorS;
  }

  /** @param {Attempt} attempt */
  waitS(attempt) {
    if (attempt.failures === 0) return attempt.uniform(0, attempt.firstSpreadS);
    return this.floorS + attempt.uniform(0, capped(this.baseS, this.factor, attempt.failures - 1, this.capS));
  }
}

/**
 * Polling takes over after so many failed attempts in a row, or after so many seconds, whichever comes first (7.25).
 *
 * @implements {FallbackPolicy}
 */
export class FallBackAfter {
  /** @param {{ failures?: number | null, seconds?: number | null }} [settings] null: this one never; both null: never at all */
  constructor({ failures = 5, seconds = null } = {}) {
    if ((failures !== null && !(failures >= 1)) || (seconds !== null && !(seconds > 0 && seconds <= 86_400))) {
      throw new ConfigError(`FallBackAfter: needs failures >= 1 and 0 < seconds <= 86400, or null; got ${failures}, ${seconds}`);
    }
    this.failures = failures;
    this.seconds = seconds;
  }

  /** @param {Trouble} trouble */
  waitS(trouble) {
    if (this.failures !== null && trouble.failures >= this.failures) return 0;
    return this.seconds === null ? null : Math.max(0, this.seconds - trouble.lastsS);
  }
}

/**
 * A ping at every interval; dead when no byte comes for the timeout after one (7.31, 7.32).
 *
 * @implements {KeepalivePolicy}
 */
export class EveryInterval {
  /** @param {{ intervalS?: number, timeoutS?: number }} [settings] */
  constructor({ intervalS = 10, timeoutS = 10 } = {}) {
    checkSeconds("EveryInterval", { intervalS, timeoutS });
    this.intervalS = intervalS;
    this.timeoutS = timeoutS;
    this.quietMaxS = intervalS;
  }

  /**
   * @param {Signs} signs
   * @returns {Due}
   */
  due(signs) {
    return { pingS: this.intervalS - signs.pingedS, deadS: untilDead(this.timeoutS, signs) };
  }
}

/**
 * A ping only when nothing was heard for `silenceS`, or none was sent for `pauseMaxS`: a busy connection proves itself.
 *
 * @implements {KeepalivePolicy}
 */
export class AfterSilence {
  /** @param {{ silenceS?: number, timeoutS?: number, pauseMaxS?: number }} [settings] */
  constructor({ silenceS = 10, timeoutS = 10, pauseMaxS = 30 } = {}) {
    checkSeconds("AfterSilence", { silenceS, timeoutS, pauseMaxS });
    if (pauseMaxS < silenceS) throw new ConfigError(`AfterSilence: needs pauseMaxS >= silenceS; got ${pauseMaxS} and ${silenceS}`);
    this.silenceS = silenceS;
    this.timeoutS = timeoutS;
    this.quietMaxS = pauseMaxS;
  }

  /**
   * @param {Signs} signs
   * @returns {Due}
   */
  due(signs) {
    const silentS = Math.min(signs.heardS, signs.pingedS); // a ping that was not answered is not repeated at once
    const pingS = Math.min(this.silenceS - silentS, this.quietMaxS - signs.pingedS);
    return { pingS, deadS: untilDead(this.timeoutS, signs) };
  }
}

/**
 * No ping but the first: the server's heartbeats are trusted. Dead when nothing came for `silenceMaxS`.
 *
 * @implements {KeepalivePolicy}
 */
export class NoPings {
  /** @param {{ silenceMaxS?: number }} [settings] */
  constructor({ silenceMaxS = 35 } = {}) {
    checkSeconds("NoPings", { silenceMaxS });
    this.silenceMaxS = silenceMaxS;
    /** @type {number | null} */
    this.quietMaxS = null;
  }

  /**
   * @param {Signs} signs
   * @returns {Due}
   */
  due(signs) {
    return { pingS: null, deadS: this.silenceMaxS - signs.heardS };
  }
}

/**
 * k misses in a row: a ping at every interval; while nothing comes, another each `retryS`; dead when `misses` of them have passed.
 *
 * @implements {KeepalivePolicy}
 */
export class MissesInARow {
  /** @param {{ intervalS?: number, misses?: number, retryS?: number }} [settings] */
  constructor({ intervalS = 10, misses = 3, retryS = 5 } = {}) {
    checkSeconds("MissesInARow", { intervalS, retryS });
    if (!(misses >= 1 && misses <= 1000)) throw new ConfigError(`MissesInARow: needs 1 <= misses <= 1000; got ${misses}`);
    if (retryS > intervalS) throw new ConfigError(`MissesInARow: needs retryS <= intervalS; got ${retryS} and ${intervalS}`);
    this.quietMaxS = intervalS;
    this.misses = misses;
    this.retryS = retryS;
  }

  /**
   * @param {Signs} signs
   * @returns {Due}
   */
  due(signs) {
    if (signs.unansweredS === null) return { pingS: this.quietMaxS - signs.pingedS, deadS: null };
    const pingS = this.retryS - signs.pingedS;
    const deadS = this.misses * this.retryS - signs.unansweredS;
    return { pingS: pingS < deadS ? pingS : null, deadS }; // no ping that could not be answered in time
  }
}

/** Pings on their way that a client remembers; an answer to an older one counts for nothing. */
export const ANSWERS_AWAITED_MAX = 8;

/**
 * NFD-S of Chen, Toueg and Aguilera (2002): dead `shiftS` after a ping unless its answer, or that of a later one, has come.
 *
 * @implements {KeepalivePolicy}
 */
export class FreshnessPoints {
  /** @param {{ intervalS?: number, shiftS?: number }} [settings] */
  constructor({ intervalS = 10, shiftS = 10 } = {}) {
    checkSeconds("FreshnessPoints", { intervalS, shiftS });
    if (shiftS > ANSWERS_AWAITED_MAX * intervalS) {
      throw new ConfigError(`FreshnessPoints: needs shiftS <= ${ANSWERS_AWAITED_MAX} * intervalS; got ${shiftS} and ${intervalS}`);
    }
    this.quietMaxS = intervalS;
    this.shiftS = shiftS;
  }

  /**
   * @param {Signs} signs
   * @returns {Due}
   */
  due(signs) {
    const deadS = signs.unprovenS === null ? null : this.shiftS - signs.unprovenS;
    return { pingS: this.quietMaxS - signs.pingedS, deadS };
  }
}

/** Phi accrual (Hayashibara and others, 2004): a ping every `intervalS`; dead when phi of the silence reaches the threshold. */
class Phi {
  /**
   * @param {string} name
   * @param {{ intervalS: number, threshold: number, samplesMax: number, silenceMaxS: number }} settings
   */
  constructor(name, { intervalS, threshold, samplesMax, silenceMaxS }) {
    checkSeconds(name, { intervalS, silenceMaxS });
    if (!(threshold >= 0.5 && threshold <= 100)) throw new ConfigError(`${name}: needs 0.5 <= threshold <= 100; got ${threshold}`);
    if (!(samplesMax >= 2 && samplesMax <= 1000)) throw new ConfigError(`${name}: needs 2 <= samplesMax <= 1000; got ${samplesMax}`);
    if (silenceMaxS <= intervalS) throw new ConfigError(`${name}: needs silenceMaxS > intervalS; got ${silenceMaxS} and ${intervalS}`);
    this.quietMaxS = intervalS;
    this.threshold = threshold;
    this.intervalsMax = samplesMax;
    this.silenceMaxS = silenceMaxS;
  }

  /**
   * @param {Signs} signs
   * @returns {Due}
   */
  due(signs) {
    const samplesS = [0.75 * this.quietMaxS, 1.25 * this.quietMaxS, ...signs.intervalsS].slice(-this.intervalsMax);
    const deadS = Math.min(this.limitS(samplesS), this.silenceMaxS) - signs.heardS;
    return { pingS: this.quietMaxS - signs.pingedS, deadS };
  }

  /**
   * @abstract
   * @param {number[]} _samplesS
   * @returns {number}
   */
  limitS(_samplesS) {
    throw new Error("each law has its own");
  }
}

/**
 * Phi for normal intervals, with Akka's parameters and defaults.
 *
 * @implements {KeepalivePolicy}
 */
export class PhiAccrual extends Phi {
  #deviations;

  /**
   * @param {{ intervalS?: number, threshold?: number, samplesMax?: number, silenceMaxS?: number, stdMinS?: number, pauseS?: number }}
   *   [settings]
   */
  constructor({ intervalS = 1, threshold = 8, samplesMax = 1000, silenceMaxS = 60, stdMinS = 0.1, pauseS = 3 } = {}) {
    super("PhiAccrual", { intervalS, threshold, samplesMax, silenceMaxS });
    checkSeconds("PhiAccrual", { stdMinS });
    if (!(pauseS >= 0 && pauseS <= 86_400)) throw new ConfigError(`PhiAccrual: needs 0 <= pauseS <= 86400; got ${pauseS}`);
    this.stdMinS = stdMinS;
    this.pauseS = pauseS;
    this.#deviations = deviationsAt(threshold);
  }

  /** @param {number[]} samplesS */
  limitS(samplesS) {
    const meanS = mean(samplesS);
    const stdS = Math.sqrt(mean(samplesS.map((each) => (each - meanS) * (each - meanS))));
    return meanS + this.pauseS + this.#deviations * Math.max(stdS, this.stdMinS);
  }
}

/**
 * Phi for exponential intervals, as Cassandra computes it.
 *
 * @implements {KeepalivePolicy}
 */
export class PhiExponential extends Phi {
  /** @param {{ intervalS?: number, threshold?: number, samplesMax?: number, silenceMaxS?: number }} [settings] */
  constructor({ intervalS = 1, threshold = 8, samplesMax = 1000, silenceMaxS = 60 } = {}) {
    super("PhiExponential", { intervalS, threshold, samplesMax, silenceMaxS });
  }

  /** @param {number[]} samplesS */
  limitS(samplesS) {
    return this.threshold * Math.LN10 * mean(samplesS);
  }
}

/**
 * How many standard deviations above the mean phi reaches the threshold, in Akka's approximation of the normal law.
 *
 * @param {number} threshold
 */
function deviationsAt(threshold) {
  const p = 10 ** -threshold;
  const wanted = Math.log((1 - p) / p);
  let y = 1;
  for (let step = 0; step < 40; step += 1) {
    y -= (y * (1.5976 + 0.070566 * y * y) - wanted) / (1.5976 + 0.211698 * y * y);
  }
  return y;
}

/** @param {number[]} values */
function mean(values) {
  let total = 0;
  for (const value of values) total += value;
  return total / values.length;
}

/**
 * @param {number} timeoutS
 * @param {Signs} signs
 */
function untilDead(timeoutS, signs) {
  return signs.unansweredS === null ? null : timeoutS - signs.unansweredS;
}

/**
 * @param {string} policy
 * @param {Record<string, number>} seconds
 */
function checkSeconds(policy, seconds) {
  for (const [name, value] of Object.entries(seconds)) {
    if (!(value > 0 && value <= 86_400)) throw new ConfigError(`${policy}: needs 0 < ${name} <= 86400; got ${value}`);
  }
}
