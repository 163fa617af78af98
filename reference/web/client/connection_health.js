/** Connection health for users: the machine's figures, why no transport carries the session, and the time of the next attempt. */

import { isSameJson } from "../machine/events.js";
import { isPolling } from "../machine/states.js";
import { Alarm } from "./clock.js";
import { signal } from "./signal.js";

/**
 * @typedef {import("../machine/states.js").ClientState} ClientState
 * @typedef {import("./driver.js").SessionDriver} SessionDriver
 *
 * @typedef {import("../machine/health.js").SessionHealth & {
 *   state: ClientState,
 *   usingFallback: boolean,
 *   reason: string | null,
 *   nextAttempt: { kind: "websocket" | "poll", at: number } | null,
 *   isOffline: boolean,
 *   isNetworkCut: boolean,
 *   roundTripsMs: readonly number[],
 *   end: { code: number | null, message: string } | null,
 * }} HealthFields
 * @typedef {Readonly<HealthFields>} Health
 */

const TOLD_MS_MIN = 100; // at most ten updates a second

/** @type {import("../machine/health.js").SessionHealth} */
const NO_HEALTH = {
  status: "Disconnected",
  transport: null,
  roundTrip: { samples: 0, meanMs: null, p50Ms: null, p95Ms: null, p99Ms: null },
  deliveryRate: null,
  reconnections: 0,
  queuedMessages: 0,
  quality: "UNKNOWN",
  qualityScore: null,
  lastError: null,
};

/**
 * The current health.
 *
 * @param {object} now
 * @param {SessionDriver | null} now.driver null: not started
 * @param {ClientState} now.state
 * @param {number} now.queuedMessages
 * @param {boolean} now.isOffline
 * @param {boolean} now.isNetworkCut
 * @param {{ code: number | null, message: string } | null} now.end
 * @returns {Health}
 */
export function healthOf({ driver, state, queuedMessages, isOffline, isNetworkCut, end }) {
  const session = driver?.session;
  const health = session?.health() ?? NO_HEALTH;
  const isOver = end !== null;
  const next = isOver ? null : (session?.nextAttempt ?? null);
  return Object.freeze({
    ...health,
    status: isOver ? "Disconnected" : health.status,
    transport: isOver ? null : health.transport,
    queuedMessages,
    state,
    usingFallback: isPolling(state),
    reason: end?.message ?? reasonOf(health.status, state, isNetworkCut, health.lastError),
    nextAttempt: next === null || driver === null ? null : { kind: next.kind, at: driver.wallMsOf(next.at) },
    isOffline,
    isNetworkCut,
    roundTripsMs: session?.roundTripsMs ?? [],
    end,
  });
}

/**
 * Why no WebSocket carries the session, for people; null if one does.
 *
 * @param {import("../machine/health.js").Status} status
 * @param {ClientState} state
 * @param {boolean} isNetworkCut
 * @param {string | null} loss
 */
function reasonOf(status, state, isNetworkCut, loss) {
  if (isNetworkCut) return "this page has cut its own network";
  if (status === "Connected" || status === "Reconnected") return null;
  if (state === "new") return "not started";
  if (state === "refreshing") return "waiting for a new token";
  if (isPolling(state)) return `no WebSocket gets through: ${loss ?? "not tried yet"}`;
  return loss ?? "connecting";
}

/** Health that is computed when it is read; changes are reported at a limited rate. */
export class HealthWatch {
  #clock;
  #alarm;
  #look;
  #onChange;
  #latest;
  #told;
  #toldAt = -Infinity;
  #isDue = false;
  #isStale = false;

  /**
   * @param {import("./clock.js").Clock} clock
   * @param {() => Health} look
   * @param {(health: Health) => void} onChange
   */
  constructor(clock, look, onChange) {
    this.#clock = clock;
    this.#look = look;
    this.#onChange = onChange;
    this.#latest = look();
    this.#told = signal(this.#latest);
    this.#alarm = new Alarm(clock, () => this.#tell());
    const fresh = () => this.#fresh();
    /** @type {import("./signal.js").ReadonlySignal<Health>} */
    this.signal = Object.freeze({
      subscribe: this.#told.subscribe,
      get value() {
        return fresh();
      },
    });
  }

  /** Something may have changed. */
  soon() {
    this.#isStale = true;
    if (this.#isDue) return;
    this.#isDue = true;
    this.#alarm.set(this.#toldAt + TOLD_MS_MIN - this.#clock.monotonicMs());
  }

  #tell() {
    this.#isDue = false;
    this.#toldAt = this.#clock.monotonicMs();
    const health = this.#fresh();
    if (health === this.#told.value) return;
    this.#told.value = health;
    this.#onChange(health);
  }

  #fresh() {
    if (this.#isStale) {
      this.#isStale = false;
      const health = this.#look();
      if (!isSameJson(health, this.#latest)) this.#latest = health;
    }
    return this.#latest;
  }
}
