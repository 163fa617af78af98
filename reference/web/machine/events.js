/**
 * Events: the types and their classes, the rules for their data, and the state that the critical ones fold into.
 *
 * A sequenced event has a number, is stored, and reaches everyone exactly once and in order. Three of the sequenced types are critical:
 * they are folded into the state of the run. Presence and cursors are latest values and carry no number (protocol 1.3 to 1.7).
 */

import { ConfigError, InvalidEvent } from "./errors.js";

/**
 * @typedef {{ [key: string]: unknown }} Data an event's payload: a JSON object
 *
 * @typedef {object} RunEvent
 * @property {string} eventType
 * @property {string} userId
 * @property {number} timestamp the server's wall clock, in ms since 1970; it gives no order
 * @property {number | null} sequenceNumber counts from 1 per run; null for presence and cursors
 * @property {Data} data
 * @property {boolean} isCritical
 *
 * @typedef {{ grafts: { [position: string]: Data }, prunes: string[], flags: Data[] }} RunState
 */

export const USER_JOIN = "USER_JOIN";
export const USER_LEAVE = "USER_LEAVE";
export const CURSOR_MOVE = "CURSOR_MOVE";

const CRITICAL = ["GRAFT", "PRUNE", "FLAG"];
const NOT_PUBLISHED = [USER_JOIN, USER_LEAVE, CURSOR_MOVE];

/** The field of a critical event's data that names the changed entry of the run's state. @type {ReadonlyMap<string, string>} */
export const KEY_FIELD = new Map([
  ["GRAFT", "position"],
  ["PRUNE", "step"],
]);
const KEY_CHARACTERS_MAX = 256;
const DATA_DEPTH_MAX = 32;
const CURSOR_BYTES_MAX = 512;

/** The sequenced event types that one application knows. */
export class EventRegistry {
  #types;

  /** @param {readonly string[]} sequenced types beside the critical ones (1.4) */
  constructor(sequenced = ["CHAT"]) {
    for (const name of sequenced) {
      if (CRITICAL.includes(name) || NOT_PUBLISHED.includes(name)) {
        throw new ConfigError(`event type ${name} is built in and cannot be registered again`);
      }
      if (typeof name !== "string" || !/^[A-Za-z0-9_]{1,64}$/.test(name)) {
        throw new ConfigError(`event type ${JSON.stringify(name)}: use 1 to 64 ASCII letters, digits and underscores`);
      }
    }
    this.#types = new Set([...CRITICAL, ...sequenced]);
  }

  /**
   * Check an event that the application wants to publish, and return a copy of its data.
   *
   * @param {string} eventType
   * @param {unknown} data
   * @returns {Data}
   * @throws {InvalidEvent} with what to change
   */
  checkPublish(eventType, data) {
    if (NOT_PUBLISHED.includes(eventType)) {
      throw new InvalidEvent(`${eventType} is not published: the server makes presence, cursors have their own call`);
    }
    if (!this.#types.has(eventType)) {
      throw new InvalidEvent(`unknown event type ${JSON.stringify(eventType)}; this client knows ${[...this.#types].sort().join(", ")}`);
    }
    const copy = copyOf(data);
    const key = KEY_FIELD.get(eventType);
    if (key !== undefined) {
      const value = copy[key];
      if (typeof value !== "string" || value === "" || characters(value) > KEY_CHARACTERS_MAX) {
        throw new InvalidEvent(`${eventType} needs data.${key}, a string of 1 to ${KEY_CHARACTERS_MAX} characters`); // 1.3
      }
    }
    return copy;
  }
}

/**
 * Check a cursor and return a copy of it.
 *
 * @param {unknown} data
 * @returns {Data}
 * @throws {InvalidEvent}
 */
export function checkCursor(data) {
  const copy = copyOf(data);
  const sizeBytes = encodedBytes(copy);
  if (sizeBytes > CURSOR_BYTES_MAX) throw new InvalidEvent(`a cursor of ${sizeBytes} bytes; the limit is ${CURSOR_BYTES_MAX}`); // 4.4
  return copy;
}

/**
 * How many bytes `value` takes as JSON in UTF-8.
 *
 * @param {unknown} value
 */
export function encodedBytes(value) {
  return utf8Bytes(JSON.stringify(value));
}

/**
 * How many bytes `text` takes in UTF-8. Limits of the protocol are in bytes, and a string's length is not.
 *
 * @param {string} text
 */
export function utf8Bytes(text) {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) bytes += 1;
    if (unit >= 0x800) bytes += 1;
    if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < text.length) {
      const next = text.charCodeAt(i + 1);
      if (next >= 0xdc00 && next < 0xe000) {
        i += 1; // a pair takes four bytes: two units, and the two that were added above
      }
    }
  }
  return bytes;
}

/**
 * By code points, as the server sorts names; the units of UTF-16 would put U+1F600 before U+FF01.
 *
 * @param {string} a
 * @param {string} b
 */
export function byCodePoint(a, b) {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) {
      const isPairX = x >= 0xd800 && x < 0xe000;
      const isPairY = y >= 0xd800 && y < 0xe000;
      return isPairX === isPairY ? x - y : isPairX ? 1 : -1;
    }
  }
  return a.length - b.length;
}

/**
 * Whether two values that came from JSON are equal.
 *
 * @param {unknown} a
 * @param {unknown} b
 * @returns {boolean}
 */
export function isSameJson(a, b) {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, i) => isSameJson(item, b[i]));
  }
  const left = /** @type {Data} */ (a);
  const right = /** @type {Data} */ (b);
  const names = Object.keys(left);
  return (
    names.length === Object.keys(right).length && names.every((name) => Object.hasOwn(right, name) && isSameJson(left[name], right[name]))
  );
}

/** The fold of a run's critical events (1.7): the snapshot for a late joiner. */
export class RunFold {
  /** @type {Map<string, Data>} */
  #grafts;
  /** @type {Set<string>} */
  #prunes;
  /** @type {Data[]} */
  #flags;

  /** @param {RunState} state */
  constructor(state = { grafts: {}, prunes: [], flags: [] }) {
    this.#grafts = new Map(Object.entries(state.grafts));
    this.#prunes = new Set(state.prunes);
    this.#flags = [...state.flags];
  }

  /** @param {RunEvent} event */
  apply(event) {
    if (event.eventType === "GRAFT") this.#grafts.set(String(event.data.position), event.data);
    else if (event.eventType === "PRUNE") this.#prunes.add(String(event.data.step));
    else if (event.eventType === "FLAG") this.#flags.push(event.data);
  }

  /** @returns {RunState} a copy; the data of events is shared */
  get state() {
    return { grafts: Object.fromEntries(this.#grafts), prunes: [...this.#prunes].sort(byCodePoint), flags: [...this.#flags] };
  }
}

/**
 * @param {unknown} data
 * @returns {Data}
 */
function copyOf(data) {
  if (typeof data !== "object" || data === null || Array.isArray(data)) {
    throw new InvalidEvent(`data is ${nameOf(data)}; it must be an object`);
  }
  checkData(data, 0);
  return JSON.parse(JSON.stringify(data));
}

/**
 * Raise InvalidEvent unless `value` survives JSON and every store unchanged (1.6).
 *
 * @param {unknown} value
 * @param {number} depth
 */
function checkData(value, depth) {
  if (depth > DATA_DEPTH_MAX) throw new InvalidEvent(`data nests deeper than ${DATA_DEPTH_MAX} levels`);
  if (value === null || typeof value === "boolean") return;
  if (typeof value === "string") checkText(value);
  else if (typeof value === "number") checkNumber(value);
  else if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) checkData(value[i], depth + 1); // by index: a hole is undefined, which is refused
  } else if (isPlainObject(value)) {
    for (const [key, item] of Object.entries(value)) {
      checkText(key);
      checkData(item, depth + 1);
    }
  } else throw new InvalidEvent(`${nameOf(value)} is not JSON: use strings, numbers, booleans, null, arrays and plain objects`);
}

/** @param {number} value */
function checkNumber(value) {
  if (!Number.isFinite(value)) throw new InvalidEvent(`${value} is not a JSON number; leave it out or send it as a string`);
  // Above, JSON would get digits that the number does not have; from 1e21 on JavaScript writes an exponent, which is no integer.
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    throw new InvalidEvent(`the integer ${value} is beyond 2^53, where JavaScript's numbers lose digits; send it as a string`);
  }
}

/** @param {string} text */
function checkText(text) {
  if (text.includes("\0")) throw new InvalidEvent("text contains the character NUL, which no database keeps; remove it");
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text)) {
    throw new InvalidEvent("text contains half of a surrogate pair, which is not Unicode; remove it");
  }
}

/**
 * @param {unknown} value
 * @returns {value is Data}
 */
function isPlainObject(value) {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  // The Object of another frame or realm is as plain as ours.
  const isPlain = prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "hasOwnProperty"));
  return isPlain && typeof (/** @type {Data} */ (value).toJSON) !== "function";
}

/** @param {unknown} value */
function nameOf(value) {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return `a ${value.constructor?.name ?? "object"}`;
  return typeof value === "undefined" ? "undefined" : `a ${typeof value}`;
}

/** @param {string} text */
function characters(text) {
  return text.length <= KEY_CHARACTERS_MAX ? text.length : [...text].length;
}
