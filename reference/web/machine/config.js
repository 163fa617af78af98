/**
 * The settings of a client (protocol 9.2), checked when the set is made. Every name ends in its unit; other numbers are counts.
 */

import { ConfigError } from "./errors.js";

/**
 * @typedef {object} ClientConfig
 * @property {number} connectTimeoutS to open a connection, and then again to be welcomed on it (7.20)
 * @property {number} pingIntervalS 7.31
 * @property {number} pingTimeoutS 7.32
 * @property {number} steadyAfterS useful uptime after which earlier failures are forgotten (7.21)
 * @property {number} firstSpreadS of the first wait after a live session was lost, until a welcome sets it (7.22)
 * @property {number} tailTimeoutS 7.13
 * @property {number | null} fallbackAfterFailures 7.25; null: never
 * @property {number} pollIntervalS 7.26
 * @property {number} pollWaitS how long the server may hold a poll that has nothing to bring (7.26)
 * @property {number} requestTimeoutS 7.27
 * @property {number} probeIntervalS 7.28
 * @property {number} probeIntervalMaxS 7.28
 * @property {number} probeJitter 7.28
 * @property {number} outboxMessagesMax 7.2
 * @property {number} outboxBytesMax 7.2
 * @property {number} outboxAgeMaxS 7.9
 * @property {"reject_new" | "drop_oldest" | "conflate"} outboxPolicy 7.2
 * @property {number} unansweredMax 7.4
 * @property {number} retryLimit 7.10
 * @property {number} retryBaseS 7.10
 * @property {number} cursorIntervalS 7.11
 * @property {number} inboxHeldMax 7.12
 * @property {number} ackIntervalS 7.18
 * @property {number} ackEvents 7.18
 * @property {number} roundTripSamplesMax 7.33
 * @property {"snapshot" | "oldest" | "head"} start 8.13
 * @property {boolean} refreshesToken 7.36
 * @property {number} tokenTimeoutS 7.40
 * @property {number} patienceS how long a driver that can slow the server down may wait for its application (7.19)
 */

/** @typedef {(value: unknown) => string | null} Rule null if the value is allowed, else the description of an allowed one */

/**
 * @param {number} above
 * @param {number} atMost
 * @returns {Rule}
 */
const numberAbove = (above, atMost) => (value) =>
  isNumber(value) && value > above && value <= atMost ? null : `a number above ${above}, at most ${atMost}`;
/**
 * @param {number} least
 * @param {number} most
 * @returns {Rule}
 */
const numberFrom = (least, most) => (value) =>
  isNumber(value) && value >= least && value <= most ? null : `a number from ${least} to ${most}`;
/**
 * @param {number} least
 * @param {number} most
 * @returns {Rule}
 */
const integerFrom = (least, most) => (value) =>
  isNumber(value) && Number.isInteger(value) && value >= least && value <= most ? null : `a whole number from ${least} to ${most}`;
/**
 * @param {Rule} rule
 * @returns {Rule}
 */
const orNull = (rule) => (value) => {
  const wanted = value === null ? null : rule(value);
  return wanted === null ? null : `${wanted}, or null`;
};
/**
 * @param {...string} choices
 * @returns {Rule}
 */
const oneOf =
  (...choices) =>
  (value) =>
    choices.includes(/** @type {string} */ (value)) ? null : `one of ${choices.join(", ")}`;
/** @type {Rule} */
const trueOrFalse = (value) => (typeof value === "boolean" ? null : "true or false");

const DAY_S = 86_400;
const COUNT_MAX = 1_000_000_000;
const seconds = numberAbove(0, DAY_S);
const secondsOrZero = numberFrom(0, DAY_S);
const positive = integerFrom(1, COUNT_MAX);

/** @type {Record<keyof ClientConfig, { default: unknown, rule: Rule }>} */
const SETTINGS = {
  connectTimeoutS: { default: 10, rule: seconds },
  pingIntervalS: { default: 10, rule: seconds },
  pingTimeoutS: { default: 10, rule: seconds },
  steadyAfterS: { default: 10, rule: seconds },
  firstSpreadS: { default: 1, rule: secondsOrZero },
  tailTimeoutS: { default: 2, rule: seconds },
  fallbackAfterFailures: { default: 5, rule: orNull(positive) },
  pollIntervalS: { default: 2, rule: seconds },
  pollWaitS: { default: 0, rule: numberFrom(0, 25) },
  requestTimeoutS: { default: 10, rule: seconds },
  probeIntervalS: { default: 15, rule: seconds },
  probeIntervalMaxS: { default: 300, rule: seconds },
  probeJitter: { default: 0.25, rule: numberFrom(0, 1) },
  outboxMessagesMax: { default: 1000, rule: positive },
  outboxBytesMax: { default: 1024 * 1024, rule: positive },
  outboxAgeMaxS: { default: 600, rule: seconds },
  outboxPolicy: { default: "reject_new", rule: oneOf("reject_new", "drop_oldest", "conflate") },
  unansweredMax: { default: 64, rule: integerFrom(1, 64) },
  retryLimit: { default: 3, rule: integerFrom(0, 1000) },
  retryBaseS: { default: 1, rule: seconds },
  cursorIntervalS: { default: 0.05, rule: secondsOrZero },
  inboxHeldMax: { default: 256, rule: positive },
  ackIntervalS: { default: 1, rule: seconds },
  ackEvents: { default: 1024, rule: positive },
  roundTripSamplesMax: { default: 100, rule: positive },
  start: { default: "snapshot", rule: oneOf("snapshot", "oldest", "head") },
  refreshesToken: { default: false, rule: trueOrFalse },
  tokenTimeoutS: { default: 60, rule: seconds },
  patienceS: { default: 1, rule: secondsOrZero },
};

/**
 * A whole set of settings: `changes`, and the defaults for all others.
 *
 * @param {Partial<ClientConfig>} [changes]
 * @returns {Readonly<ClientConfig>}
 * @throws {ConfigError} if a setting is unknown or out of its bounds (9.1)
 */
export function clientConfig(changes = {}) {
  /** @type {Record<string, unknown>} */
  const config = {};
  for (const [name, setting] of Object.entries(SETTINGS)) config[name] = setting.default;
  for (const [name, value] of Object.entries(changes)) {
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[/** @type {keyof ClientConfig} */ (name)] : null;
    if (setting === null) throw new ConfigError(`unknown setting ${name}; the settings are ${Object.keys(SETTINGS).join(", ")}`);
    const wanted = setting.rule(value);
    if (wanted !== null) throw new ConfigError(`${name} = ${JSON.stringify(value)}: must be ${wanted}`);
    config[name] = value;
  }
  const checked = /** @type {ClientConfig} */ (/** @type {unknown} */ (config));
  if (checked.outboxMessagesMax < checked.unansweredMax) {
    throw new ConfigError(
      `outboxMessagesMax = ${checked.outboxMessagesMax} is below unansweredMax = ${checked.unansweredMax}: a publish stays in the ` +
        "outbox until it is answered; raise the first or lower the second",
    );
  }
  if (checked.probeIntervalMaxS < checked.probeIntervalS) {
    throw new ConfigError(
      `probeIntervalMaxS = ${checked.probeIntervalMaxS} is below probeIntervalS = ${checked.probeIntervalS}; raise the first`,
    );
  }
  return Object.freeze(checked);
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
