/**
 * Frames: all messages between client and server, and the codec between text and frames (protocol 3.2, 3.3 and 4).
 *
 * A frame is a frozen-by-convention plain object with the field names of the wire. Decoding takes known fields only, fills in defaults and
 * checks bounds, so a decoded frame is well formed; encoding leaves defaults out.
 */

import { CloseCode, RemoteError } from "./errors.js";
import { utf8Bytes } from "./events.js";

/**
 * @typedef {import("./events.js").Data} Data
 * @typedef {import("./events.js").RunEvent} RunEvent
 * @typedef {import("./events.js").RunState} RunState
 *
 * @typedef {"fresh" | "resumed" | "snapshot" | "reset"} Outcome
 * @typedef {"epoch" | "expired" | "ahead"} ResetReason
 * @typedef {"not_opened" | "not_welcomed" | "not_steady"} FallbackReason
 *
 * @typedef {{ recoveryMs: number, silenceMs: number | null }} Recovery
 * @typedef {object} Report
 * @property {number} failedAttempts
 * @property {number} gaps
 * @property {number} duplicates
 * @property {number} failedMessages
 * @property {number} queuedMessages
 * @property {Recovery[]} recoveries
 *
 * @typedef {{ type: "hello", protocol: number, clientId: string, generation: number, token: string | null, sessionId: string | null,
 *   epoch: string | null, afterSequence: number | null, start: string }} Hello
 * @typedef {{ clientSequence: number, eventType: string, data: Data, after: number | null }} Message
 * @typedef {{ type: "publish" } & Message} Publish
 * @typedef {{ type: "cursor", data: Data }} Cursor
 * @typedef {{ type: "ack", sequenceNumber: number }} Ack
 * @typedef {{ type: "ping", nonce: number, roundTripMs: number | null, report: Report | null }} Ping
 * @typedef {{ type: "auth", token: string }} Auth
 * @typedef {{ type: "bye" }} Bye
 * @typedef {{ type: "poll", afterSequence: number | null, epoch: string | null, waitMs: number, clientId: string | null,
 *   sessionId: string | null, generation: number, start: string, fallback: FallbackReason | null, report: Report | null }} PollRequest
 * @typedef {{ type: "publishMany", clientId: string, generation: number, messages: Message[], cursor: Data | null }} PublishRequest
 * @typedef {Hello | Publish | Cursor | Ack | Ping | Auth | Bye} ClientFrame
 * @typedef {PollRequest | PublishRequest} RequestFrame
 *
 * @typedef {object} Limits
 * @property {number} frameBytesMax
 * @property {number} unansweredMax
 * @property {number} publishesPerS
 * @property {number | null} bodyBytesMax
 * @property {number | null} connectionsPerUserMax
 * @property {number | null} connectionsMax
 * @property {number | null} loadedRunsMax
 * @property {number | null} runsPerUserPerMinuteMax
 * @property {number | null} helloTimeoutMs
 * @property {number | null} headTimeoutMs
 * @property {number | null} silenceMaxMs
 * @property {number | null} slowReaderTimeoutMs
 * @property {number | null} eventsKeptMax
 *
 * @typedef {object} Welcome
 * @property {"welcome"} type
 * @property {string} sessionId
 * @property {string} epoch
 * @property {Outcome} outcome
 * @property {ResetReason | null} reason
 * @property {number} oldest
 * @property {number} head
 * @property {number} afterSequence
 * @property {number} lastClientSequence
 * @property {number} heartbeatMs
 * @property {Limits} limits
 * @property {{ firstSpreadMs: number }} retry
 * @property {string[]} activeUsers
 * @property {{ [user: string]: Data }} cursorPositions
 * @property {number} serverTime
 *
 * @typedef {{ type: "snapshot", sequenceNumber: number, state: RunState }} SnapshotFrame
 * @typedef {{ type: "events", events: RunEvent[] }} Events
 * @typedef {{ type: "presence", full: string[] | null, joined: string[], left: string[], serverTime: number }} Presence
 * @typedef {{ type: "cursors", full: { [user: string]: Data } | null, moved: { [user: string]: Data }, serverTime: number }} Cursors
 * @typedef {{ type: "accepted", clientSequence: number, sequenceNumber: number, duplicate: boolean }} Accepted
 * @typedef {{ type: "rejected", clientSequence: number, code: string, message: string, retryable: boolean,
 *   retryAfterMs: number | null }} Rejected
 * @typedef {{ type: "heartbeat", head: number }} Heartbeat
 * @typedef {{ type: "pong", nonce: number, serverTime: number }} Pong
 * @typedef {{ type: "expiring", inMs: number }} Expiring
 * @typedef {{ type: "goaway", code: number, retryAfterMs: number, spreadMs: number }} Goaway
 * @typedef {{ type: "error", code: number, message: string }} ErrorFrame
 * @typedef {Welcome | SnapshotFrame | Events | Presence | Cursors | Accepted | Rejected | Heartbeat | Pong | Expiring | Goaway |
 *   ErrorFrame} ServerFrame
 *
 * @typedef {object} PollAnswer
 * @property {"polled"} type
 * @property {string} runId
 * @property {string | null} sessionId
 * @property {string} epoch
 * @property {Outcome} outcome
 * @property {ResetReason | null} reason
 * @property {number} oldest
 * @property {number} head
 * @property {number} afterSequence
 * @property {number} lastClientSequence
 * @property {RunEvent[]} events
 * @property {boolean} hasMore
 * @property {SnapshotFrame | null} snapshot
 * @property {string[]} activeUsers
 * @property {{ [user: string]: Data }} cursorPositions
 * @property {number} serverTime
 *
 * @typedef {{ type: "published", results: (Accepted | Rejected)[], epoch: string | null }} PublishAnswer
 * @typedef {"poll" | "publishMany"} RequestKind
 *
 * Made by the polling transport itself, never on the wire: a request ended without the server's answer to it. `code` is the
 * protocol's if the server gave one (5.7), else null.
 * @typedef {{ type: "requestFailed", request: RequestKind, code: number | null, message: string,
 *   retryAfterMs: number | null }} RequestFailed
 * @typedef {PollAnswer | PublishAnswer | RequestFailed} AnswerFrame
 * @typedef {{ code: number, message: string, retryAfterMs: number | null }} HttpProblem
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "collab.v1.json"; // 3.1
/** The largest frame that a server accepts before its welcome, in bytes (7.3). */
export const FRAME_BYTES_MAX = 64 * 1024;
/** The largest frame that a client takes from a server, in bytes (3.2). */
export const SERVER_FRAME_BYTES_MAX = 8 * 1024 * 1024;
export const MILLISECONDS_MAX = 86_400_000;
export const TALLY_MAX = 1_000_000;
export const RECOVERIES_MAX = 8;

/** @typedef {(value: unknown, where: string) => unknown} Read checks and converts one value, or raises BadValue */

class BadValue extends Error {}

/** In place of a default: the field must be there. */
const REQUIRED = Symbol("required");

/**
 * @param {number} least
 * @param {number} most
 * @returns {Read}
 */
const integer =
  (least = -Infinity, most = Infinity) =>
  (value, where) => {
    if (typeof value !== "number" || !Number.isInteger(value)) throw new BadValue(`${where} must be an integer`);
    if (value < least || value > most) throw new BadValue(`${where} is ${value}, out of ${least} to ${most}`);
    return value;
  };
/** @type {Read} */
const number = (value, where) => {
  if (typeof value !== "number") throw new BadValue(`${where} must be a number`);
  return value;
};
/** @type {Read} */
const text = (value, where) => {
  if (typeof value !== "string") throw new BadValue(`${where} must be a string`);
  return value;
};
/** @type {Read} */
const bool = (value, where) => {
  if (typeof value !== "boolean") throw new BadValue(`${where} must be true or false`);
  return value;
};
/** @type {Read} */
const object = (value, where) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new BadValue(`${where} must be an object`);
  return value;
};
/** @type {Read} */
const id = (value, where) => {
  if (typeof value !== "string" || !/^[A-Za-z0-9._:@+-]{1,128}$/.test(value)) throw new BadValue(`${where} must be an id`);
  return value;
};
/**
 * @param {Read} item
 * @param {number} most
 * @returns {Read}
 */
const listOf =
  (item, most = Infinity) =>
  (value, where) => {
    if (!Array.isArray(value)) throw new BadValue(`${where} must be a list`);
    if (value.length > most) throw new BadValue(`${where} has more than ${most} items`);
    return value.map((each, i) => item(each, `${where}[${i}]`));
  };
/**
 * @param {Read} item
 * @returns {Read}
 */
const mapOf = (item) => (value, where) => {
  for (const [key, each] of Object.entries(/** @type {Data} */ (object(value, where)))) item(each, `${where}.${key}`);
  return value;
};
/**
 * @param {...string} choices
 * @returns {Read}
 */
const oneOf =
  (...choices) =>
  (value, where) => {
    if (!choices.includes(/** @type {string} */ (value))) throw new BadValue(`${where} must be one of ${choices.join(", ")}`);
    return value;
  };
/**
 * @param {Read} read
 * @returns {Read}
 */
const orNull = (read) => (value, where) => (value === null ? null : read(value, where));

const count = integer(0, 2 ** 53);
const ordinal = integer(1, 2 ** 53);
const ms = integer(0, MILLISECONDS_MAX);
const whole = integer();
const outcome = oneOf("fresh", "resumed", "snapshot", "reset");
const resetReason = oneOf("epoch", "expired", "ahead");

/**
 * A field's reader and its default; a default of null also lets null in.
 *
 * @typedef {Readonly<Record<string, readonly [Read, unknown]>>} Fields
 */

/**
 * @param {string} type the value of the field `type`; "" for an object without one
 * @param {Fields} fields
 * @returns {Read}
 */
const struct = (type, fields) => (value, where) => {
  const source = /** @type {Data} */ (object(value, where));
  /** @type {Data} */
  const result = type === "" ? {} : { type };
  if (type !== "" && source.type !== undefined && source.type !== type) throw new BadValue(`${where} must be of type ${type}`);
  for (const [name, [read, byDefault]] of Object.entries(fields)) {
    const given = Object.hasOwn(source, name) ? source[name] : undefined;
    if (given !== undefined) result[name] = byDefault === null ? orNull(read)(given, `${where}.${name}`) : read(given, `${where}.${name}`);
    else if (byDefault === REQUIRED) throw new BadValue(`${where} misses the field ${name}`);
    else result[name] = typeof byDefault === "object" ? structuredDefault(byDefault) : byDefault;
  }
  return result;
};

/** @param {object | null} value */
function structuredDefault(value) {
  return value === null ? null : Array.isArray(value) ? [] : {};
}

const eventOf = struct("", {
  eventType: [text, REQUIRED],
  userId: [text, REQUIRED],
  timestamp: [whole, REQUIRED],
  sequenceNumber: [orNull(whole), REQUIRED],
  data: [object, REQUIRED],
  isCritical: [bool, REQUIRED],
});

/** Ascending, contiguous, and each with a number (4.11). @type {Read} */
const events = (value, where) => {
  const list = /** @type {RunEvent[]} */ (listOf(eventOf)(value, where));
  const first = list[0]?.sequenceNumber ?? null;
  if (list.length > 0 && (first === null || first < 1)) throw new BadValue(`${where} has an event without a sequence number`);
  list.forEach((event, i) => {
    const wanted = /** @type {number} */ (first) + i;
    if (event.sequenceNumber !== wanted) throw new BadValue(`event ${event.sequenceNumber} stands where ${wanted} belongs`);
  });
  return list;
};

const optional = /** @type {const} */ ([whole, null]);
const limits = struct("", {
  frameBytesMax: [whole, REQUIRED],
  unansweredMax: [whole, REQUIRED],
  publishesPerS: [number, REQUIRED],
  bodyBytesMax: optional,
  connectionsPerUserMax: optional,
  connectionsMax: optional,
  loadedRunsMax: optional,
  runsPerUserPerMinuteMax: optional,
  helloTimeoutMs: optional,
  headTimeoutMs: optional,
  silenceMaxMs: optional,
  slowReaderTimeoutMs: optional,
  eventsKeptMax: optional,
});
const runState = struct("", { grafts: [mapOf(object), {}], prunes: [listOf(text), []], flags: [listOf(object), []] });
const snapshot = struct("snapshot", { sequenceNumber: [count, REQUIRED], state: [runState, REQUIRED] });
const accepted = struct("accepted", {
  clientSequence: [ordinal, REQUIRED],
  sequenceNumber: [ordinal, REQUIRED],
  duplicate: [bool, false],
});
const rejected = struct("rejected", {
  clientSequence: [ordinal, REQUIRED],
  code: [text, REQUIRED],
  message: [text, REQUIRED],
  retryable: [bool, false],
  retryAfterMs: [ms, null],
});

/** @type {ReadonlyMap<string, Read>} */
const SERVER_FRAMES = new Map([
  [
    "welcome",
    struct("welcome", {
      sessionId: [id, REQUIRED],
      epoch: [id, REQUIRED],
      outcome: [outcome, REQUIRED],
      reason: [resetReason, null],
      oldest: [count, REQUIRED],
      head: [count, REQUIRED],
      afterSequence: [count, REQUIRED],
      lastClientSequence: [count, REQUIRED],
      heartbeatMs: [ms, REQUIRED],
      limits: [limits, REQUIRED],
      retry: [struct("", { firstSpreadMs: [ms, REQUIRED] }), REQUIRED],
      activeUsers: [listOf(text), REQUIRED],
      cursorPositions: [mapOf(object), REQUIRED],
      serverTime: [whole, REQUIRED],
    }),
  ],
  ["snapshot", snapshot],
  ["events", struct("events", { events: [events, REQUIRED] })],
  [
    "presence",
    struct("presence", {
      full: [listOf(text), null],
      joined: [listOf(text), []],
      left: [listOf(text), []],
      serverTime: [whole, REQUIRED],
    }),
  ],
  ["cursors", struct("cursors", { full: [mapOf(object), null], moved: [mapOf(object), {}], serverTime: [whole, REQUIRED] })],
  ["accepted", accepted],
  ["rejected", rejected],
  ["heartbeat", struct("heartbeat", { head: [count, REQUIRED] })],
  ["pong", struct("pong", { nonce: [count, REQUIRED], serverTime: [whole, REQUIRED] })],
  ["expiring", struct("expiring", { inMs: [ms, REQUIRED] })],
  ["goaway", struct("goaway", { code: [whole, REQUIRED], retryAfterMs: [ms, REQUIRED], spreadMs: [ms, REQUIRED] })],
  ["error", struct("error", { code: [whole, REQUIRED], message: [text, REQUIRED] })],
]);

const polled = struct("polled", {
  runId: [text, REQUIRED],
  sessionId: [id, null],
  epoch: [id, REQUIRED],
  outcome: [outcome, REQUIRED],
  reason: [resetReason, null],
  oldest: [count, REQUIRED],
  head: [count, REQUIRED],
  afterSequence: [count, REQUIRED],
  lastClientSequence: [count, REQUIRED],
  events: [events, REQUIRED],
  hasMore: [bool, false],
  snapshot: [snapshot, null],
  activeUsers: [listOf(text), REQUIRED],
  cursorPositions: [mapOf(object), REQUIRED],
  serverTime: [whole, REQUIRED],
});
/** @type {Read} */
const result = (value, where) => {
  const { type } = /** @type {Data} */ (object(value, where));
  return type === "accepted" ? accepted(value, where) : rejected(value, where);
};
const published = struct("published", { results: [listOf(result), REQUIRED], epoch: [id, null] });
const httpProblem = struct("", { code: [whole, REQUIRED], message: [text, REQUIRED], retryAfterMs: [whole, null] });

/**
 * One text message of a WebSocket.
 *
 * @param {string} message
 * @returns {ServerFrame}
 * @throws {RemoteError} with the code to close with: too big, or a bad frame
 */
export function decodeServerFrame(message) {
  const value = /** @type {Data} */ (parsed(message));
  return believed(() => {
    const type = /** @type {Data} */ (object(value, "the frame")).type;
    const read = SERVER_FRAMES.get(/** @type {string} */ (type));
    if (read === undefined) throw new BadValue(`unknown type ${JSON.stringify(type)}`);
    return /** @type {ServerFrame} */ (read(value, "the frame"));
  });
}

/**
 * The body of a successful answer to a request.
 *
 * @param {RequestKind} request
 * @param {string} body
 * @returns {PollAnswer | PublishAnswer}
 * @throws {RemoteError}
 */
export function decodeAnswer(request, body) {
  const value = parsed(body);
  return believed(() => /** @type {PollAnswer | PublishAnswer} */ ((request === "poll" ? polled : published)(value, "the answer")));
}

/**
 * The body of an answer that is not a success, or null if it is not one of this protocol (5.7).
 *
 * @param {string} body
 * @returns {HttpProblem | null}
 */
export function decodeProblem(body) {
  try {
    return /** @type {HttpProblem} */ (httpProblem(JSON.parse(body), "the body"));
  } catch {
    return null;
  }
}

/**
 * A list of events as `replay` answers it (5.5).
 *
 * @param {unknown} value
 * @returns {RunEvent[]}
 * @throws {RemoteError}
 */
export function readEvents(value) {
  return believed(() => /** @type {RunEvent[]} */ (listOf(eventOf)(value, "events")));
}

/** Defaults that the encoder leaves out, by field (3.3). @type {Readonly<Record<string, unknown>>} */
const LEFT_OUT = Object.freeze({ start: "snapshot", waitMs: 0 });

/**
 * The frame without the fields that have their defaults; in the order of its fields.
 *
 * @param {ClientFrame | RequestFrame} frame
 * @returns {Data}
 */
export function withoutDefaults(frame) {
  /** @type {Data} */
  const wire = {};
  for (const [name, value] of Object.entries(frame)) {
    if (value === null || (Object.hasOwn(LEFT_OUT, name) && value === LEFT_OUT[name])) continue;
    if (name === "generation" && value === 1) continue;
    if (name === "messages") {
      const messages = /** @type {Message[]} */ (value);
      if (messages.length > 0) wire.messages = messages.map(messageWithoutDefaults);
    } else if (name === "report") wire.report = reportWithoutDefaults(/** @type {Report} */ (value));
    else wire[name] = value;
  }
  return wire;
}

/** @param {ClientFrame | RequestFrame} frame */
export function encode(frame) {
  return JSON.stringify(withoutDefaults(frame));
}

/** @param {Message} message */
function messageWithoutDefaults({ after, ...rest }) {
  return after === null ? rest : { ...rest, after };
}

/** @param {Report} report */
function reportWithoutDefaults(report) {
  /** @type {Data} */
  const wire = {};
  for (const [name, value] of Object.entries(report)) {
    if (name === "recoveries") {
      if (report.recoveries.length > 0) {
        wire.recoveries = report.recoveries.map(({ recoveryMs, silenceMs }) =>
          silenceMs === null ? { recoveryMs } : { recoveryMs, silenceMs },
        );
      }
    } else if (value !== 0) wire[name] = value;
  }
  return wire;
}

/** @param {string} message */
function parsed(message) {
  const isShort = message.length * 3 <= SERVER_FRAME_BYTES_MAX; // a unit of UTF-16 takes three bytes at the most
  const isTooBig = !isShort && utf8Bytes(message) > SERVER_FRAME_BYTES_MAX;
  if (isTooBig) throw new RemoteError(CloseCode.TOO_BIG, `a frame of more than ${SERVER_FRAME_BYTES_MAX} bytes`); // 3.2
  try {
    return JSON.parse(message);
  } catch (error) {
    throw new RemoteError(CloseCode.BAD_FRAME, `not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * @template T
 * @param {() => T} read
 * @returns {T}
 */
function believed(read) {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    throw new RemoteError(CloseCode.BAD_FRAME, `not a frame of this protocol: ${error.message}`); // 3.3
  }
}
