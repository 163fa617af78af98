// @ts-check
/** The admin REST API as the view calls it: its answers, and an operator's actions. See /docs of the server. */

/**
 * @typedef {object} Session
 * @property {string} sessionId
 * @property {string} runId
 * @property {string} clientId
 * @property {string} userId
 * @property {"websocket" | "polling"} transport
 * @property {string} status
 * @property {boolean} isConnected
 * @property {number} joinedAt
 * @property {number} lastActivityAt
 * @property {number | null} closeCode
 * @property {number} messagesSent
 * @property {number} messagesReceived
 * @property {number | null} deliveryRate
 * @property {number} reconnections
 * @property {number} fallbacks
 * @property {number} queuedMessages
 * @property {{samples: number, p50Ms: number | null, p95Ms: number | null}} roundTrip
 * @property {string} quality
 * @property {number | null} qualityScore
 *
 * @typedef {object} ServerHealth
 * @property {string} status
 * @property {number | null} qualityScore
 * @property {boolean} isStoreWritable
 * @property {boolean} isGoingAway
 * @property {number} uptimeMs
 * @property {number} runsLoaded
 * @property {number} totalConnections
 * @property {number} totalPolling
 * @property {Record<string, number>} sessionsByQuality
 * @property {number | null} deliveryRate
 * @property {{samples: number, p50Ms: number | null, p95Ms: number | null}} roundTrip
 * @property {number} readersLagging
 * @property {number} storeQueueBatches
 *
 * @typedef {{userId: string, until: number, refusedBy: string}} RefusedUser
 *
 * @typedef {object} Picture Everything that is drawn, as of one moment.
 * @property {ServerHealth} health
 * @property {Session[]} sessions
 * @property {number} totalSessions
 * @property {Record<string, number>} connectionsPerRun
 * @property {RefusedUser[]} refused
 * @property {string[]} silent Processes on the same database that did not answer.
 */

const BASE = "/api/admin/websocket";
const TIMEOUT_MS = 8000;
const PAGE = 1000;

/** The server refused, or did not answer. */
export class AdminError extends Error {
  name = "AdminError";

  /**
   * @param {string} message
   * @param {number | null} code The protocol's code; null if the server could not be reached.
   * @param {number} [retryAfterMs]
   */
  constructor(message, code, retryAfterMs = 0) {
    super(message);
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** Calls with one token. */
export class AdminApi {
  #token;

  /** @param {string} token */
  constructor(token) {
    this.#token = token;
  }

  /**
   * @param {boolean} connectedOnly
   * @returns {Promise<Picture>}
   */
  async picture(connectedOnly) {
    const [health, sessions, connections, refused] = await Promise.all([
      this.#call("GET", "/health"),
      this.#call("GET", "/metrics", { limit: PAGE, connectedOnly }),
      this.#call("GET", "/connections", { limit: 1 }),
      this.#call("GET", "/refused-users"),
    ]);
    return {
      health,
      sessions: sessions.sessions,
      totalSessions: sessions.totalSessions,
      connectionsPerRun: connections.connectionsPerRun,
      refused: refused.users,
      silent: [...new Set([...(sessions.processesSilent ?? []), ...(connections.processesSilent ?? [])])],
    };
  }

  /**
   * @param {Session} session
   * @param {boolean} isFinal
   * @returns {Promise<{closed: number}>}
   */
  closeSession(session, isFinal) {
    const which = { runId: session.runId, clientId: session.clientId, isFinal };
    return this.#call("POST", `/sessions/${encodeURIComponent(session.sessionId)}/close`, which);
  }

  /**
   * @param {string} runId
   * @param {number} retryAfterMs
   * @returns {Promise<{closed: number}>}
   */
  sendAway(runId, retryAfterMs) {
    return this.#call("POST", `/runs/${runId}/send-away`, { retryAfterMs });
  }

  /**
   * @param {string} runId
   * @returns {Promise<{closed: number}>}
   */
  deleteRun(runId) {
    return this.#call("DELETE", `/runs/${runId}`);
  }

  /**
   * @param {string} userId
   * @param {number} forMs
   * @returns {Promise<{closed: number}>}
   */
  refuse(userId, forMs) {
    return this.#call("PUT", "/refused-users", { userId, forMs });
  }

  /** @param {string} userId */
  allow(userId) {
    return this.#call("DELETE", "/refused-users", { userId });
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {Record<string, string | number | boolean>} [parameters]
   * @returns {Promise<any>}
   */
  async #call(method, path, parameters = {}) {
    const query = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
    const url = `${BASE}${path}${query.size ? `?${query}` : ""}`;
    let answer;
    try {
      answer = await fetch(url, {
        method,
        headers: { authorization: `Bearer ${this.#token}` },
        cache: "no-store",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      const isLate = error instanceof DOMException && error.name === "TimeoutError";
      throw new AdminError(isLate ? `the server did not answer within ${TIMEOUT_MS / 1000} s` : "the server cannot be reached", null);
    }
    const body = await answer.json().catch(() => null);
    if (answer.ok && body !== null) return body;
    throw new AdminError(body?.message ?? `the server answered with status ${answer.status}`, body?.code ?? answer.status, body?.retryAfterMs);
  }
}
