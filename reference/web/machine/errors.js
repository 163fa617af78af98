/**
 * Errors and close codes: the fault, its side, and the client's reaction.
 *
 * A local error is this side's fault: nothing was queued or sent. A remote error is the other side's: it carries the close code for the
 * connection on which it happened. Close codes and reactions are those of section 6 of docs/protocol.md.
 */

/** The base of every error that these modules raise on purpose. */
export class SteadywireError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** A setting that cannot work; the message names it, its limit and the value given. */
export class ConfigError extends SteadywireError {}

/** This side's fault: the application asked for something that the protocol or its state does not allow. */
export class LocalError extends SteadywireError {}

/** The outbox has reached its limit, and its policy gives nothing up for this publish. */
export class OutboxFull extends LocalError {}

/** An event that no server would accept: unknown type, missing field, or data that JSON cannot carry. */
export class InvalidEvent extends LocalError {}

/** The session has ended; nothing more can be published on it. */
export class SessionClosed extends LocalError {}

/** The other side's fault: it sent something that the protocol forbids. */
export class RemoteError extends SteadywireError {
  /**
   * @param {number} code the close code for its connection
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Why a connection ended (protocol 6.1). */
export const CloseCode = Object.freeze({
  GOING_AWAY: 4001,
  HEARTBEAT_LOST: 4003,
  TOO_SLOW: 4008,
  RATE: 4029,
  OVERLOADED: 4030,
  SUPERSEDED: 4101,
  SESSION_EXPIRED: 4102,
  BAD_FRAME: 4400,
  TOKEN: 4401,
  FORBIDDEN: 4403,
  NO_SUCH_RUN: 4404,
  VERSION: 4406,
  TOO_BIG: 4413,
});

/** @typedef {"resume" | "new session" | "new token" | "stop"} Reaction */

/** @type {ReadonlyMap<number, Reaction>} */
const REACTIONS = new Map([
  [CloseCode.SUPERSEDED, "stop"],
  [CloseCode.SESSION_EXPIRED, "new session"],
  [CloseCode.TOKEN, "new token"],
]);
/** @type {ReadonlyMap<number, Reaction>} */
const REACTIONS_BY_FIRST_DIGITS = new Map([
  [40, "resume"],
  [41, "new session"],
  [44, "stop"],
]);

/**
 * The reaction to a close with `code`; null: the connection was cut without one.
 *
 * @param {number | null} code
 * @returns {Reaction}
 */
export function reactionTo(code) {
  if (code === null) return "resume"; // 6.3
  return REACTIONS.get(code) ?? REACTIONS_BY_FIRST_DIGITS.get(Math.floor(code / 100)) ?? "resume"; // 6.2, 6.3
}

/** Rejections that settle a publish for good: a copy of it gets the same one (8.4). */
export const NUMBER_USED_UP = Object.freeze(["invalid_event", "unknown_event_type", "state_full"]);
export const OUT_OF_ORDER = "out_of_order";
export const ANSWER_EXPIRED = "answer_expired";

/** Why a publish failed for good when it was not the server that refused it (6.8). */
export const FailureCode = Object.freeze({ EXPIRED: "expired", DROPPED: "dropped", CLOSED: "closed", TOO_BIG: "too_big" });
