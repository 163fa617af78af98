/** HTTP calls outside of a session: make a run, read its kept events (protocol 5.2, 5.5). */

import { RemoteError, SteadywireError } from "../machine/errors.js";
import { readEvents } from "../machine/frames.js";
import { headersOf, refusalOf, textOf, textWithin } from "./transports.js";

/**
 * @typedef {import("../machine/events.js").RunEvent} RunEvent
 * @typedef {import("./transports.js").NetworkSwitch} NetworkSwitch
 */

const REPLAY_PAGES_MAX = 100;
const PAGE_MS_MAX = 60_000;

/** @typedef {{ network: NetworkSwitch, clock: import("./clock.js").Clock }} Caller */

/** A call over HTTP was refused or not answered. `code` is the protocol's, or null. */
export class RequestFailedError extends SteadywireError {
  /**
   * @param {string} message
   * @param {{ status?: number | null, code?: number | null, retryAfterMs?: number | null }} [why]
   */
  constructor(message, { status = null, code = null, retryAfterMs = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * One call; resolves to its status and its JSON. One that is not answered within `msMax` fails.
 *
 * @param {Caller} caller
 * @param {string} url
 * @param {RequestInit} init
 * @param {number} msMax
 * @returns {Promise<{ status: number, value: any }>}
 * @throws {RequestFailedError}
 */
export async function call({ network, clock }, url, init, msMax) {
  const late = new AbortController();
  const timer = clock.setTimer(msMax, () => late.abort(new Error(`no answer within ${msMax / 1000} s`)));
  const signal = init.signal ? AbortSignal.any([init.signal, late.signal]) : late.signal;
  try {
    return await network.fetch(url, { cache: "no-store", credentials: "omit", ...init, signal }, async (response) => {
      const body = await textWithin(response);
      const { status } = response;
      if (!response.ok) {
        const { code, message, retryAfterMs } = refusalOf(response, body);
        throw new RequestFailedError(message, { status, code, retryAfterMs });
      }
      return { status, value: JSON.parse(body) };
    });
  } catch (error) {
    const isOurs = error instanceof RequestFailedError || init.signal?.aborted;
    throw isOurs ? error : new RequestFailedError(`${init.method ?? "GET"} ${url} failed: ${textOf(error)}`);
  } finally {
    clock.clearTimer(timer);
  }
}

/**
 * All pages of a replay.
 *
 * @param {Caller} caller
 * @param {string} url of the run's collaboration
 * @param {string | null} token
 * @param {{ fromSequence: number | null, signal?: AbortSignal }} what
 * @returns {Promise<RunEvent[]>}
 */
export async function replay(caller, url, token, { fromSequence, signal }) {
  /** @type {RunEvent[]} */
  const events = [];
  let from = fromSequence;
  for (let page = 0; page < REPLAY_PAGES_MAX; page++) {
    const parameters = new URLSearchParams(from === null ? {} : { fromSequence: String(from) });
    if (fromSequence === null) parameters.set("criticalOnly", "true");
    const { value } = await call(caller, `${url}/replay?${parameters}`, { headers: headersOf(token), signal }, PAGE_MS_MAX);
    try {
      events.push(...readEvents(value?.events));
    } catch (error) {
      if (error instanceof RemoteError) throw new RequestFailedError(error.message, { status: 200 });
      throw error;
    }
    if (value.hasMore !== true || typeof value.nextSequence !== "number") return events;
    from = value.nextSequence;
  }
  throw new RequestFailedError(`the replay has more than ${REPLAY_PAGES_MAX} pages; ask for a later fromSequence`);
}
