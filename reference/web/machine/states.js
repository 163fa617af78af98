/**
 * The states of a client session, as tables.
 *
 * One state says what is going on with both transports at once, because they are not independent: WebSocket is probed only while
 * polling carries the session, and polling ends only when the probe has proved useful. Section 3.9 of docs/protocol.md says what each
 * state means.
 *
 * A frame that is missing in `MAY_RECEIVE` is the other side's mistake: the connection is closed as a bad frame. An input that is
 * missing in `TRANSITIONS` is our own mistake: it raises.
 */

/**
 * @typedef {"new" | "connecting" | "greeting" | "proving" | "live" | "waiting" | "polling" | "probe_connecting" | "probe_greeting" |
 *   "probe_proving" | "refreshing" | "closed"} ClientState
 * @typedef {"start" | "opened" | "welcomed" | "proven" | "lost" | "exhausted" | "due" | "token_wanted" | "token_given" | "end"} ClientInput
 * @typedef {"websocket" | "polling"} Transport
 */

/** @type {ReadonlySet<ClientState>} HTTP carries the session. */
const POLLING = new Set(["polling", "probe_connecting", "probe_greeting", "probe_proving"]);
/** @type {ReadonlySet<ClientState>} A WebSocket is welcomed: publishes go there. */
const WITH_WEBSOCKET = new Set(["proving", "live", "probe_proving"]);

/** @param {ClientState} state */
export const isPolling = (state) => POLLING.has(state);
/** @param {ClientState} state */
export const hasWebsocket = (state) => WITH_WEBSOCKET.has(state);

/** @type {Readonly<Record<ClientState, Readonly<Partial<Record<ClientInput, ClientState>>>>>} */
export const TRANSITIONS = Object.freeze({
  new: { start: "connecting", end: "closed" },
  // WebSocket alone.
  connecting: { opened: "greeting", lost: "waiting", exhausted: "polling", token_wanted: "refreshing", end: "closed" },
  greeting: { welcomed: "proving", lost: "waiting", exhausted: "polling", token_wanted: "refreshing", end: "closed" },
  proving: { proven: "live", lost: "waiting", exhausted: "polling", token_wanted: "refreshing", end: "closed" },
  live: { lost: "waiting", exhausted: "polling", token_wanted: "refreshing", end: "closed" },
  waiting: { due: "connecting", exhausted: "polling", end: "closed" },
  // HTTP carries the session, and WebSocket is probed behind it.
  polling: { due: "probe_connecting", token_wanted: "refreshing", end: "closed" },
  probe_connecting: { opened: "probe_greeting", lost: "polling", token_wanted: "refreshing", end: "closed" },
  probe_greeting: { welcomed: "probe_proving", lost: "polling", token_wanted: "refreshing", end: "closed" },
  probe_proving: { proven: "live", lost: "polling", token_wanted: "refreshing", end: "closed" },
  // The new token may be as bad as the old one, so it waits like any attempt.
  refreshing: { token_given: "waiting", exhausted: "polling", end: "closed" },
  closed: {},
});

const AT_ANY_TIME = ["goaway", "error"];
const GREETED = new Set(["welcome", ...AT_ANY_TIME]);
const FLOWING = new Set([
  "snapshot",
  "events",
  "presence",
  "cursors",
  "accepted",
  "rejected",
  "heartbeat",
  "pong",
  "expiring",
  ...AT_ANY_TIME,
]);
/** @type {ReadonlySet<string>} */
const NOTHING = new Set();

/** Frames on the WebSocket by state (protocol 3.9). @type {Readonly<Record<ClientState, ReadonlySet<string>>>} */
export const MAY_RECEIVE = Object.freeze({
  new: NOTHING,
  connecting: NOTHING,
  greeting: GREETED,
  proving: FLOWING,
  live: FLOWING,
  waiting: NOTHING,
  polling: NOTHING,
  probe_connecting: NOTHING,
  probe_greeting: GREETED,
  probe_proving: FLOWING,
  refreshing: NOTHING,
  closed: NOTHING,
});
