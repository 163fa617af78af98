/**
 * Connection health: round trips, delivery rate, and a quality (protocol 7.33, 7.34).
 *
 * A round trip is measured by one clock, the client's, from a ping to its own pong.
 */

import { MILLISECONDS_MAX } from "./frames.js";
import { NS_PER_MS } from "./timers.js";

/**
 * @typedef {"HEALTHY" | "DEGRADED" | "UNHEALTHY" | "UNKNOWN"} Quality
 * @typedef {"Connected" | "Reconnected" | "Disconnected" | "HTTP Polling"} Status
 * @typedef {{ samples: number, meanMs: number | null, p50Ms: number | null, p95Ms: number | null, p99Ms: number | null }} RoundTrips
 *
 * deliveryRate: accepted / (accepted + failed for good), null before the first publish was settled. qualityScore: 0 to 100, null
 * without a round trip; at most 49 while nothing carries the session. lastError: why nothing carries the session, or why its last
 * WebSocket failed while polling carries it; null while a WebSocket does.
 * @typedef {object} SessionHealth
 * @property {Status} status
 * @property {import("./states.js").Transport | null} transport
 * @property {RoundTrips} roundTrip
 * @property {number | null} deliveryRate
 * @property {number} reconnections
 * @property {number} queuedMessages
 * @property {Quality} quality
 * @property {number | null} qualityScore
 * @property {string | null} lastError
 */

const LATENCY_POINTS = [
  [50, 100],
  [100, 90],
  [200, 75],
  [500, 50],
  [1000, 25],
  [Infinity, 10],
];
const RECONNECTION_POINTS = [
  [0, 100],
  [1, 80],
  [2, 60],
  [5, 40],
  [10, 20],
  [Infinity, 5],
];

const UNCARRIED_SCORE_MAX = 49;

/**
 * From 0 to 100 (7.33).
 *
 * @param {number} meanMs
 * @param {number} reconnections
 * @param {number} deliveryRate
 */
export function qualityScore(meanMs, reconnections, deliveryRate) {
  return 0.4 * points(LATENCY_POINTS, meanMs) + 0.3 * points(RECONNECTION_POINTS, reconnections) + 0.3 * 100 * deliveryRate;
}

/**
 * @param {number | null} score
 * @returns {Quality}
 */
export function qualityOf(score) {
  if (score === null) return "UNKNOWN"; // 7.34
  if (score >= 80) return "HEALTHY";
  return score >= 50 ? "DEGRADED" : "UNHEALTHY";
}

/** The client's own figures: counts, and the last `samplesMax` round trips. */
export class HealthRecord {
  #samplesMax;
  /** @type {number[]} in ns */
  #roundTrips = [];
  #wasConnected = false;
  accepted = 0;
  failed = 0;
  reconnections = 0;

  /** @param {number} samplesMax */
  constructor(samplesMax) {
    this.#samplesMax = samplesMax;
  }

  /** A transport carries the session; each time after the first it is a reconnection. */
  connected() {
    if (this.#wasConnected) this.reconnections += 1;
    this.#wasConnected = true;
  }

  /**
   * A ping was answered.
   *
   * @param {number} duration in ns
   */
  roundTrip(duration) {
    this.#roundTrips.push(duration);
    if (this.#roundTrips.length > this.#samplesMax) this.#roundTrips.shift();
  }

  /** Oldest first, in ms. */
  get roundTripsMs() {
    return this.#roundTrips.map((duration) => duration / NS_PER_MS);
  }

  get lastRoundTripMs() {
    const last = this.#roundTrips.at(-1);
    return last === undefined ? null : Math.min(last / NS_PER_MS, MILLISECONDS_MAX);
  }

  /**
   * @param {Status} status
   * @param {import("./states.js").Transport | null} transport
   * @param {number} queuedMessages
   * @param {{ isCarried: boolean, lastError: string | null }} how
   * @returns {SessionHealth}
   */
  report(status, transport, queuedMessages, { isCarried, lastError }) {
    const roundTrip = summaryOf(this.roundTripsMs);
    const settled = this.accepted + this.failed;
    const deliveryRate = settled === 0 ? null : this.accepted / settled;
    const best = isCarried ? Infinity : UNCARRIED_SCORE_MAX; // 7.34
    const score = roundTrip.meanMs === null ? null : Math.min(best, qualityScore(roundTrip.meanMs, this.reconnections, deliveryRate ?? 1));
    return {
      status,
      transport,
      roundTrip,
      deliveryRate,
      reconnections: this.reconnections,
      queuedMessages,
      quality: qualityOf(score),
      qualityScore: score,
      lastError,
    };
  }
}

/**
 * Mean and percentiles, of round trips in any order.
 *
 * @param {readonly number[]} roundTripsMs
 * @returns {RoundTrips}
 */
export function summaryOf(roundTripsMs) {
  const samples = roundTripsMs.length;
  if (samples === 0) return { samples, meanMs: null, p50Ms: null, p95Ms: null, p99Ms: null };
  const ascending = [...roundTripsMs].sort((a, b) => a - b);
  const [p50Ms, p95Ms, p99Ms] = [0.5, 0.95, 0.99].map((fraction) => percentile(ascending, fraction));
  return { samples, meanMs: exactSum(ascending) / samples, p50Ms, p95Ms, p99Ms };
}

/**
 * The value at `fraction` of a non-empty ascending list, interpolated between its two neighbours.
 *
 * @param {readonly number[]} ascending
 * @param {number} fraction
 */
function percentile(ascending, fraction) {
  const place = fraction * (ascending.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, ascending.length - 1);
  return ascending[low] + (ascending[high] - ascending[low]) * (place - low);
}

/**
 * The sum, rounded once: that of any order, and that of Python's `math.fsum` (Shewchuk 1997, non-overlapping partial sums).
 *
 * @param {readonly number[]} values
 */
export function exactSum(values) {
  /** @type {number[]} */
  let partials = [];
  for (const value of values) {
    let x = value;
    const next = [];
    for (let y of partials) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low !== 0) next.push(low);
      x = high;
    }
    next.push(x);
    partials = next;
  }
  let sum = partials.pop() ?? 0;
  while (partials.length > 0) {
    const x = sum;
    const y = /** @type {number} */ (partials.pop());
    sum = x + y;
    const low = y - (sum - x);
    if (low !== 0) {
      // A half is rounded to even only if nothing is left below it: the next partial decides.
      const below = partials.at(-1) ?? 0;
      if ((low < 0 && below < 0) || (low > 0 && below > 0)) {
        const twice = low * 2;
        const rounded = sum + twice;
        if (twice === rounded - sum) sum = rounded;
      }
      break;
    }
  }
  return sum;
}

/**
 * @param {number[][]} table
 * @param {number} value
 */
function points(table, value) {
  return /** @type {number[]} */ (table.find(([atMost]) => value <= atMost))[1];
}
