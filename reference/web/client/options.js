/** The options of a client, checked: run id, address, token, transports. */

import { ConfigError } from "../machine/errors.js";

/**
 * @typedef {import("../machine/config.js").ClientConfig} ClientConfig
 * @typedef {string | (() => string | Promise<string>)} TokenSource
 *
 * @typedef {object} Options
 * @property {string} [url] base URL of the server; default: the page's own origin
 * @property {TokenSource} [token]
 * @property {Partial<ClientConfig>} [config]
 * @property {readonly string[]} [types] sequenced event types beside the critical ones
 * @property {"indexeddb" | "memory" | import("./storage.js").StateStorage} [storage]
 * @property {string} [account] whose identity is stored here
 * @property {AbortSignal} [signal]
 * @property {number} [deliveriesMax] how many deliveries wait for one `for await` loop before the session holds
 * @property {import("./transports.js").Transports} [transports]
 * @property {import("./clock.js").Clock} [clock]
 * @property {() => number} [random]
 * @property {import("./lifecycle.js").Page | null} [page]
 * @property {import("../machine/policies.js").ReconnectPolicy} [reconnect]
 * @property {import("../machine/policies.js").FallbackPolicy} [fallback]
 * @property {import("../machine/policies.js").KeepalivePolicy} [keepalive]
 */

const RUN_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TOKEN_CHARACTERS_MAX = 8192; // 4.1

/**
 * In the form in which a server names it (protocol 1.1).
 *
 * @param {unknown} runId
 */
export function checkedRunId(runId) {
  const id = String(runId).toLowerCase();
  if (!RUN_ID.test(id)) throw new ConfigError(`run id ${JSON.stringify(runId)}: must be a UUID such as crypto.randomUUID() gives`);
  return id;
}

/**
 * How many deliveries may wait for one loop.
 *
 * @param {unknown} most
 */
export function checkedDeliveriesMax(most) {
  if (!Number.isInteger(most) || Number(most) < 1) throw new ConfigError(`deliveriesMax ${JSON.stringify(most)}: must be an integer >= 1`);
  return Number(most);
}

/**
 * The given transports, or this environment's own.
 *
 * @param {import("./transports.js").Transports | undefined} given
 * @returns {import("./transports.js").Transports}
 */
export function transportsOf(given) {
  const { WebSocket, fetch } = given ?? globalThis;
  if (typeof WebSocket !== "function" || typeof fetch !== "function") {
    throw new ConfigError("this environment has no WebSocket or no fetch; give both as options.transports");
  }
  return { WebSocket, fetch: given === undefined ? fetch.bind(globalThis) : fetch };
}

/**
 * Where the server's calls for a run are (protocol 3.1, 5.2).
 *
 * @param {string | undefined} base
 * @param {string} runId
 */
export function urlsOf(base, runId) {
  const own = typeof location === "undefined" ? undefined : location.href;
  if (base === undefined && own === undefined) throw new ConfigError("there is no page here: give the server's address as options.url");
  let url;
  try {
    url = new URL(base ?? "/", own);
  } catch {
    throw new ConfigError(`invalid URL ${JSON.stringify(base)}; give one such as https://collaboration.example.org`);
  }
  if (!/^(http|ws)s?:$/.test(url.protocol)) throw new ConfigError(`${url}: must be an http:, https:, ws: or wss: URL`);
  if (url.username !== "" || url.password !== "") throw new ConfigError("a URL must not hold credentials; give a token");
  if (url.search !== "" || url.hash !== "") throw new ConfigError(`${url}: only host, port and path belong here; give a token as options.token`);
  const path = url.pathname.replace(/\/+$/, "");
  const root = `${url.origin}${path}`.replace(/^ws/, "http");
  const run = `${root}/api/runs/${encodeURIComponent(runId)}`;
  const websocket = `${root.replace(/^http/, "ws")}/ws/runs/${encodeURIComponent(runId)}/collaboration`; // 3.1
  return { base: root, run, http: `${run}/collaboration`, websocket };
}

/**
 * @param {unknown} token
 * @returns {string}
 */
export function checkedToken(token) {
  if (typeof token !== "string" || token === "")
    throw new ConfigError(`a token must be a string, not ${token === "" ? "empty" : typeof token}`);
  if (token.length > TOKEN_CHARACTERS_MAX)
    throw new ConfigError(`a token of ${token.length} characters; the limit is ${TOKEN_CHARACTERS_MAX}`);
  if (/[^\x21-\x7e]/.test(token)) throw new ConfigError("a token must be visible ASCII: it travels in a header");
  return token;
}
