/**
 * Time in a page: a clock that includes the machine's sleep, and timers that continue in a background tab.
 *
 * On some systems `performance.now()` stops while the machine sleeps, so no timer would be overdue afterwards. The wall clock
 * continues; when it is more than a few seconds ahead of the monotonic one, the machine has slept, and the difference is added.
 *
 * A browser fires the timers of a hidden tab once a second, later once a minute: too late to ping. A worker's timers are not
 * throttled, so a worker runs a hidden tab's timers. Without workers the page's own timers are used.
 */

/**
 * @typedef {object} Clock
 * @property {() => number} monotonicMs
 * @property {() => number} wallMs since 1970
 * @property {(ms: number, ring: () => void) => unknown} setTimer
 * @property {(timer: any) => void} clearTimer
 */

const SLEEP_MS_MIN = 5000;
const TIMER_MS_MAX = 86_400_000; // setTimeout overflows at 2^31 ms

/** Whole nanoseconds since its creation, never backwards, including the machine's sleep. */
export class SessionTime {
  #clock;
  #began;
  #ahead; // the wall clock of the monotonic one, when it was looked at last
  #sleptMs = 0;
  #last = 0;

  /** @param {Clock} clock */
  constructor(clock) {
    this.#clock = clock;
    this.#began = clock.monotonicMs();
    this.#ahead = clock.wallMs() - this.#began;
  }

  now() {
    const monotonic = this.#clock.monotonicMs();
    const ahead = this.#clock.wallMs() - monotonic;
    if (ahead - this.#ahead > SLEEP_MS_MIN) this.#sleptMs += ahead - this.#ahead;
    this.#ahead = ahead;
    this.#last = Math.max(this.#last, Math.round((monotonic - this.#began + this.#sleptMs) * 1e6));
    return this.#last;
  }

  /**
   * A time of this clock on the wall clock, in ms since 1970.
   *
   * @param {number} at in ns
   */
  wallMsOf(at) {
    return Math.round(this.#clock.wallMs() + (at - this.now()) / 1e6);
  }

  /**
   * A time of the wall clock on this one, in ns; it may be below 0.
   *
   * @param {number} wallMs
   */
  ofWallMs(wallMs) {
    return this.now() + Math.round(Math.min(0, wallMs - this.#clock.wallMs()) * 1e6);
  }
}

/** One timer that can be moved: it fires once, at the time that was set last. */
export class Alarm {
  #clock;
  #ring;
  /** @type {{ timer: unknown } | null} */
  #set = null;

  /**
   * @param {Clock} clock
   * @param {() => void} ring
   */
  constructor(clock, ring) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** @param {number | null} ms from now on; null: not at all */
  set(ms) {
    if (this.#set !== null) this.#clock.clearTimer(this.#set.timer);
    this.#set = null;
    if (ms === null) return;
    const timer = this.#clock.setTimer(Math.min(Math.max(0, ms), TIMER_MS_MAX), () => {
      this.#set = null;
      this.#ring();
    });
    this.#set = { timer };
  }
}

/** The clock of a page, or of any other JavaScript. @implements {Clock} */
export class PageClock {
  #background = new BackgroundTimers();
  #isHidden = false;

  monotonicMs() {
    return performance.now();
  }

  wallMs() {
    return Date.now();
  }

  /**
   * @param {number} ms
   * @param {() => void} ring
   */
  setTimer(ms, ring) {
    return (this.#isHidden ? this.#background.set(ms, ring) : null) ?? setTimeout(ring, ms);
  }

  /** @param {any} timer */
  clearTimer(timer) {
    if (timer instanceof BackgroundTimer) this.#background.clear(timer);
    else clearTimeout(timer);
  }

  /**
   * The page was hidden, or shown again. Active timers must be set again.
   *
   * @param {boolean} isHidden
   */
  hide(isHidden) {
    this.#isHidden = isHidden;
    if (!isHidden) this.#background.stop();
  }
}

class BackgroundTimer {
  /** @type {ReturnType<typeof setTimeout> | undefined} once it is a timer of the page */
  ofPage;

  /**
   * @param {number} id
   * @param {() => void} ring
   * @param {number} dueAt by `performance.now()`
   */
  constructor(id, ring, dueAt) {
    this.id = id;
    this.ring = ring;
    this.dueAt = dueAt;
  }
}

/** Timers in a worker. */
class BackgroundTimers {
  /** @type {Worker | null} */
  #worker = null;
  #isImpossible = typeof Worker === "undefined";
  #lastId = 0;
  /** @type {Map<number, BackgroundTimer>} */
  #timers = new Map();

  /**
   * @param {number} ms
   * @param {() => void} ring
   * @returns {BackgroundTimer | null} null: there is no worker
   */
  set(ms, ring) {
    const worker = this.#start();
    if (worker === null) return null;
    const timer = new BackgroundTimer((this.#lastId += 1), ring, performance.now() + ms);
    this.#timers.set(timer.id, timer);
    worker.postMessage({ id: timer.id, ms });
    return timer;
  }

  /** @param {BackgroundTimer} timer */
  clear({ id, ofPage }) {
    clearTimeout(ofPage);
    if (this.#timers.delete(id)) this.#worker?.postMessage({ id, ms: null });
  }

  /** End the worker; its timers that have not fired become timers of the page. */
  stop() {
    this.#worker?.terminate();
    this.#worker = null;
    for (const timer of this.#timers.values()) timer.ofPage = setTimeout(timer.ring, Math.max(0, timer.dueAt - performance.now()));
    this.#timers.clear();
  }

  #start() {
    if (this.#worker !== null || this.#isImpossible) return this.#worker;
    try {
      this.#worker = new Worker(new URL("./alarm_worker.js", import.meta.url), { type: "module" });
    } catch {
      this.#isImpossible = true; // another origin's script, or a policy against workers
      return null;
    }
    this.#worker.onmessage = ({ data: id }) => {
      const timer = this.#timers.get(id);
      this.#timers.delete(id);
      timer?.ring();
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#isImpossible = true;
      this.stop();
    };
    return this.#worker;
  }
}
