/**
 * Keepalive: pings over one WebSocket, which show whether it is alive and measure the round trip (protocol 7.31, 7.32).
 *
 * A ping goes out at the start, and then when the keepalive policy says so; its round trip is measured by this clock alone. Any byte
 * from the server counts as life. That moves no timer: it is only noted, and the policy is asked again when a time that it had named has
 * come. A policy that would be silent for as long as the server allows, or longer, is not obeyed in that: pings are put in between.
 */

import { ANSWERS_AWAITED_MAX } from "./policies.js";
import { NS_PER_S, ns } from "./timers.js";

/**
 * @typedef {import("./context.js").Context} Context
 * @typedef {import("./policies.js").Due} Due
 * @typedef {import("./policies.js").KeepalivePolicy} KeepalivePolicy
 */

const PING_WITHIN_S_MIN = 1; // no limit of a server makes a client ping without a pause (7.31)
export const PINGS_REMEMBERED_MAX = ANSWERS_AWAITED_MAX; // pings in flight; older ones would have ended the connection

/** The pings of one client session; `stopped` between its connections. */
export class Keepalive {
  #context;
  #record;
  #policy;
  /** @type {Map<number, number>} when a ping was sent, by nonce */
  #sentAt = new Map();
  #nextNonce = 0;
  #pingedAt = 0;
  /** @type {number | null} the server would not wait for as long as the policy does */
  #pingWithinS = null;
  /** @type {number | null} the oldest ping after which no byte has come */
  #unansweredSince = null;
  /** @type {number | null} the oldest ping that no answer, to it or to a later one, has followed */
  #unprovenSince = null;
  #intervalsMax;
  /** @type {number[]} between answers; of this connection */
  #intervalsS = [];
  /** @type {number | null} */
  #answeredAt = null;
  heardAt = 0;

  /**
   * @param {Context} context
   * @param {import("./health.js").HealthRecord} record
   * @param {KeepalivePolicy} policy
   */
  constructor(context, record, policy) {
    this.#context = context;
    this.#record = record;
    this.#policy = policy;
    this.#intervalsMax = policy.intervalsMax ?? 0;
  }

  /** Pings whose answers would still be measured. */
  get remembered() {
    return this.#sentAt.size;
  }

  /**
   * The server's silence limit for clients; null: it has not sent one.
   *
   * @param {number | null} silenceMaxMs
   */
  keepLimit(silenceMaxMs) {
    const quietS = this.#policy.quietMaxS;
    const isTooQuiet = silenceMaxMs !== null && (quietS === null || quietS * 1000 >= silenceMaxMs);
    this.#pingWithinS = isTooQuiet ? Math.max(silenceMaxMs / 2000, PING_WITHIN_S_MIN) : null;
  }

  /**
   * The next ping, to be sent now; it carries the client's report.
   *
   * @param {number} now
   * @param {number} queuedMessages
   * @returns {import("./frames.js").Ping}
   */
  ping(now, queuedMessages) {
    const nonce = this.#nextNonce;
    this.#nextNonce += 1;
    this.#sentAt.set(nonce, now);
    if (this.#sentAt.size > PINGS_REMEMBERED_MAX) {
      for (const oldest of this.#sentAt.keys()) {
        this.#sentAt.delete(oldest);
        break;
      }
    }
    this.#pingedAt = now;
    this.#unansweredSince ??= now;
    this.#unprovenSince ??= now;
    this.#arm(this.#due(now), now);
    const report = this.#context.report.take(nonce, queuedMessages); // 7.41
    return { type: "ping", nonce, roundTripMs: this.#record.lastRoundTripMs, report };
  }

  /**
   * A byte arrived from the server.
   *
   * @param {number} now
   */
  heard(now) {
    this.heardAt = now;
    this.#unansweredSince = null;
  }

  /**
   * A pong arrived. Returns whether it answers a ping of this connection.
   *
   * @param {number} nonce
   * @param {number} now
   */
  pong(nonce, now) {
    const sentAt = this.#sentAt.get(nonce);
    if (sentAt === undefined) return false;
    this.#sentAt.delete(nonce);
    this.#record.roundTrip(now - sentAt);
    this.#unprovenSince = null;
    for (const [later, at] of this.#sentAt) {
      if (later > nonce) {
        this.#unprovenSince = at;
        break;
      }
    }
    if (this.#intervalsMax > 0) {
      if (this.#answeredAt !== null) {
        this.#intervalsS.push((now - this.#answeredAt) / NS_PER_S);
        if (this.#intervalsS.length > this.#intervalsMax) this.#intervalsS.shift();
      }
      this.#answeredAt = now;
    }
    this.#context.report.arrived(nonce);
    return true;
  }

  /**
   * The policy's time for the next ping has come. Returns whether it still asks for one.
   *
   * @param {number} now
   */
  isPingDue(now) {
    const due = this.#due(now);
    return hasCome(due.pingS) || this.#arm(due, now);
  }

  /**
   * The policy's time for giving up has come. Returns whether it still says so (7.32).
   *
   * @param {number} now
   */
  isDead(now) {
    const due = this.#due(now);
    return hasCome(due.deadS) || this.#arm(due, now);
  }

  /** Why a connection is dead, in words. */
  get verdict() {
    if (this.#unansweredSince !== null) return "no data received after a ping";
    return this.#unprovenSince === null ? "no data received for too long" : "a ping was not answered in time";
  }

  /** The connection is lost. */
  stopped() {
    this.#sentAt.clear();
    this.#unansweredSince = this.#unprovenSince = this.#answeredAt = null;
    this.#intervalsS = [];
    this.#context.report.websocketLost();
    this.#context.timers.cancel("PING");
    this.#context.timers.cancel("PONG");
  }

  /**
   * @param {number} now
   * @returns {Due}
   */
  #due(now) {
    const pingedS = (now - this.#pingedAt) / NS_PER_S;
    const heardS = (now - this.heardAt) / NS_PER_S;
    const unansweredS = since(this.#unansweredSince, now);
    const unprovenS = since(this.#unprovenSince, now);
    const due = this.#policy.due({ pingedS, heardS, unansweredS, unprovenS, intervalsS: this.#intervalsS });
    if (this.#pingWithinS === null) return due;
    const waitS = this.#pingWithinS - pingedS;
    return { pingS: due.pingS === null ? waitS : Math.min(waitS, due.pingS), deadS: due.deadS };
  }

  /**
   * @param {Due} due
   * @param {number} now
   */
  #arm(due, now) {
    this.#armOne("PING", due.pingS, now);
    this.#armOne("PONG", due.deadS, now);
    return false;
  }

  /**
   * @param {"PING" | "PONG"} timer
   * @param {number | null} waitS
   * @param {number} now
   */
  #armOne(timer, waitS, now) {
    const { timers } = this.#context;
    if (waitS === null) timers.cancel(timer);
    else if (timers.deadlineOf(timer) !== now + ns(waitS)) timers.set(timer, now + ns(waitS));
  }
}

/** @param {number | null} waitS */
function hasCome(waitS) {
  return waitS !== null && ns(waitS) <= 0;
}

/**
 * @param {number | null} at
 * @param {number} now
 */
function since(at, now) {
  return at === null ? null : (now - at) / NS_PER_S;
}
