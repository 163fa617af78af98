/**
 * Connectivity: opens WebSockets, schedules reconnects and probes, falls back to HTTP polling and comes back (protocol 7.20 to 7.30, 7.40).
 *
 * One WebSocket, or polling with one probe; never more of either. Only this module changes the state in the table of states.
 * Failures are counted over attempts and forgotten only when a connection has been useful for a while (7.21): a proxy that
 * kills WebSockets after a second leads to polling like one that refuses them.
 */

import { AskedWait, Reconnector } from "./backoff.js";
import { CloseCode, reactionTo } from "./errors.js";
import { PROTOCOL_VERSION } from "./frames.js";
import { capped } from "./policies.js";
import { Polling } from "./polling.js";
import { TRANSITIONS, hasWebsocket, isPolling } from "./states.js";
import { NS_PER_MS, NS_PER_S, ns } from "./timers.js";

/**
 * @typedef {import("./context.js").Context} Context
 * @typedef {import("./errors.js").Reaction} Reaction
 * @typedef {import("./policies.js").Draws} Draws
 * @typedef {import("./states.js").ClientInput} ClientInput
 * @typedef {import("./states.js").ClientState} ClientState
 * @typedef {{ code: number | null, reason: string }} NotConnected
 */

/** An application that supplies the same token as before is asked again, at most this often (7.36). */
const ASK_AGAIN_S_MIN = 5;
/** Reasons that were already reported, until a transport carries the session (7.43). */
const REPORTED_ERRORS_MAX = 8;

/** How far a WebSocket came that was lost in this state, if it was not welcomed. */
const HOW_FAR = /** @type {const} */ ({ connecting: "not_opened", greeting: "not_welcomed" });

/** When WebSocket is probed behind polling: interval * 2^failed, capped, spread by the jitter to both sides (7.28). */
class Probes {
  #context;
  #draws;
  #failed = 0;
  #index = 0;

  /**
   * @param {Context} context
   * @param {Draws} draws
   */
  constructor(context, draws) {
    this.#context = context;
    this.#draws = draws;
  }

  failed() {
    this.#failed += 1;
  }

  forgetFailures() {
    this.#failed = 0;
  }

  /**
   * Time the next probe; never before `notBefore`.
   *
   * @param {number} now
   * @param {number} notBefore
   */
  schedule(now, notBefore) {
    const { config, timers } = this.#context;
    const waitS = capped(config.probeIntervalS, 2, this.#failed, config.probeIntervalMaxS);
    const spread = config.probeJitter * (2 * this.#draws.uniform("probe", this.#index) - 1);
    this.#index += 1;
    timers.set("PROBE", Math.max(now + ns(waitS * (1 + spread)), notBefore));
  }
}

/** Owns the state of one client session and the connections that it opens. */
export class Connectivity {
  #clientId;
  #context;
  #publishing;
  #delivery;
  #keepalive;
  #fallback;
  #record;
  #draws;
  #probes;
  #timers;
  /** The time of a probe that was postponed until a new token comes. @type {number | null} */
  #probeAt = null;
  #triesToken = false; // the next attempt is made at once, because the last used an expired token
  #troubledSince = 0; // when the session was last carried steadily
  #lastConnectionId = 0;
  #returns = 0;
  #isFromProbe = false; // the WebSocket was opened behind polling
  /** @type {number | null} the lost transport had been silent since then */
  #silentSince = null;
  /** @type {number | null} of the token, as the server has told */
  #expiresAt = null;
  /** @type {NotConnected[]} */
  #reportedErrors = [];
  /** The highest that a connection of ours has had (2.6). */
  generation = 0;
  /** @type {ClientState} */
  state = "new";
  /** @type {string | null} */
  sessionId = null;
  /** @type {number | null} */
  websocket = null;
  websocketGeneration = 0;
  /** Whether a transport carries the session (7.42). */
  isCarried = false;
  /** Why the last attempt failed or the last connection was lost; null while a WebSocket carries the session. @type {NotConnected | null} */
  lastError = null;

  /**
   * @param {object} parts
   * @param {string} parts.clientId
   * @param {Context} parts.context
   * @param {import("./publishing.js").Publishing} parts.publishing
   * @param {import("./delivery.js").Delivery} parts.delivery
   * @param {import("./keepalive.js").Keepalive} parts.keepalive
   * @param {import("./health.js").HealthRecord} parts.record
   * @param {import("./policies.js").ReconnectPolicy} parts.reconnect
   * @param {import("./policies.js").FallbackPolicy} parts.fallback
   * @param {Draws} parts.draws
   * @param {string | null} parts.token
   */
  constructor({ clientId, context, publishing, delivery, keepalive, record, reconnect, fallback, draws, token }) {
    this.token = token;
    const asked = new AskedWait();
    this.reconnector = new Reconnector(reconnect, draws, context.config.firstSpreadS, asked);
    const polls = new Reconnector(reconnect, draws, context.config.firstSpreadS, asked, "poll_backoff");
    this.polling = new Polling(context, clientId, polls);
    this.#probes = new Probes(context, draws);
    this.#fallback = fallback;
    this.#draws = draws;
    this.#clientId = clientId;
    this.#context = context;
    this.#timers = context.timers;
    this.#publishing = publishing;
    this.#delivery = delivery;
    this.#keepalive = keepalive;
    this.#record = record;
  }

  /** The transport that carries the session now; of two, the newer. @returns {import("./states.js").Transport | null} */
  get transport() {
    if (hasWebsocket(this.state)) return "websocket";
    return this.isCarried ? "polling" : null;
  }

  /** The status for people (7.34). @returns {import("./health.js").Status} */
  get status() {
    if (!this.isCarried) return "Disconnected";
    if (this.polling.carries) return "HTTP Polling";
    return this.#record.reconnections > 0 ? "Reconnected" : "Connected";
  }

  // ---- opening a WebSocket ----

  /** @param {number} now */
  start(now) {
    this.#troubledSince = now;
    this.#turn("start", now);
    this.#connect(now);
    this.overdue(now);
  }

  /**
   * It is time for the next attempt, or the next probe.
   *
   * @param {number} now
   */
  due(now) {
    this.#isFromProbe = this.state === "polling";
    this.#turn("due", now);
    this.#connect(now);
  }

  /** @param {number} now */
  opened(now) {
    this.#turn("opened", now);
    this.#timers.set("CONNECT", now + ns(this.#context.config.connectTimeoutS)); // 7.20
  }

  /**
   * The first frame on the WebSocket that was opened (3.6, 4.2).
   *
   * @param {{ epoch: string | null, last: number }} position
   * @returns {import("./frames.js").Hello}
   */
  hello({ epoch, last }) {
    return {
      type: "hello",
      protocol: PROTOCOL_VERSION,
      clientId: this.#clientId,
      generation: this.websocketGeneration,
      token: null,
      sessionId: this.sessionId,
      epoch,
      afterSequence: epoch === null ? null : last,
      start: this.#context.config.start,
    };
  }

  /**
   * @param {string} sessionId
   * @param {number} firstSpreadS
   * @param {number} now
   */
  welcomed(sessionId, firstSpreadS, now) {
    this.#turn("welcomed", now);
    this.#timers.cancel("CONNECT");
    this.#timers.cancel("FALLBACK");
    this.lastError = null;
    this.#triesToken = false;
    this.sessionId = sessionId; // 2.4
    this.reconnector.firstSpreadS = firstSpreadS; // 7.22
    // Publishes in flight over polling may arrive or not; this connection carries them from now on (7.29).
    this.#publishing.connectionLost();
  }

  /**
   * A ping was answered: the WebSocket is useful, and polling ends (7.29, 7.31).
   *
   * @param {number} now
   */
  proven(now) {
    this.#turn("proven", now);
    this.#stopPolling();
    this.#timers.set("STEADY", now + ns(this.#context.config.steadyAfterS));
  }

  /** It has been useful for long enough (7.21). */
  steady() {
    this.#isFromProbe = false;
    this.reconnector.steady();
    this.#probes.forgetFailures();
  }

  /**
   * The machine's own network is back: what waits for its time need not, unless the server asked for the wait (7.44).
   *
   * @param {number} now
   */
  networkReturned(now) {
    const at = this.reconnector.hurry(now, this.#draws.uniform("network_returned", this.#returns));
    this.#returns += 1;
    for (const timer of /** @type {const} */ (["RETRY", "PROBE", "POLL"])) {
      const deadline = this.#timers.deadlineOf(timer);
      if (at !== null && deadline !== null && deadline > at) this.#timers.set(timer, at);
    }
  }

  // ---- loss of a WebSocket ----

  /**
   * Our decision that the WebSocket is of no more use; the session goes on (6.4).
   *
   * @param {number | null} code
   * @param {string} message
   * @param {number} now
   * @param {{ isFailure?: boolean }} [how]
   */
  leave(code, message, now, { isFailure = true } = {}) {
    const connectionId = /** @type {number} */ (this.websocket); // there is a connection to leave
    this.#context.actions.push({ kind: "close", connectionId, code, message });
    this.lost(null, message, now, { isFailure, bySilence: code === CloseCode.HEARTBEAT_LOST });
  }

  /**
   * An event is missing, and only a resume can bring it (7.12, 7.13).
   *
   * @param {string} message
   * @param {number} now
   */
  leaveForGap(message, now) {
    this.#context.report.gaps += 1;
    this.leave(CloseCode.GOING_AWAY, message, now);
  }

  /**
   * @param {import("./frames.js").Goaway} goaway
   * @param {number} now
   */
  sentAway(goaway, now) {
    this.askedToWait(now, goaway.retryAfterMs, goaway.spreadMs);
    this.leave(1000, "asked to go away", now, { isFailure: false }); // 6.5, 7.21
    this.#reportError(goaway.code, "the server asked this client to reconnect later");
  }

  /**
   * The server wants to hear nothing before a time, on whatever transport (7.23).
   *
   * @param {number} now
   * @param {number} retryAfterMs
   * @param {number | null} spreadMs
   */
  askedToWait(now, retryAfterMs, spreadMs) {
    this.reconnector.askedToWait(now, retryAfterMs, spreadMs);
    this.#keepWaits();
  }

  #keepWaits() {
    const { notBefore } = this.reconnector;
    for (const timer of /** @type {const} */ (["RETRY", "POLL"])) {
      const deadline = this.#timers.deadlineOf(timer);
      if (deadline !== null && deadline < notBefore) this.#timers.set(timer, notBefore);
    }
    const probeAt = this.#timers.deadlineOf("PROBE");
    if (probeAt !== null && probeAt < notBefore) this.#probes.schedule(notBefore, notBefore); // spread anew: many were told the same time
  }

  /**
   * The WebSocket is gone, by whatever cause.
   *
   * @param {number | null} code
   * @param {string} message
   * @param {number} now
   * @param {{ isFailure?: boolean, bySilence?: boolean }} [how]
   */
  lost(code, message, now, { isFailure = true, bySilence = false } = {}) {
    const wasSteady = this.state === "live" && !this.#timers.has("STEADY");
    const isNewest = this.websocketGeneration === this.generation;
    if (wasSteady) this.#troubledSince = now;
    if (hasWebsocket(this.state)) this.#publishing.connectionLost();
    if (isFailure && !wasSteady) this.#context.report.failedAttempts += 1;
    if (isFailure) this.lastError = { code, reason: message };
    this.#silentSince = bySilence ? this.#keepalive.heardAt : null;
    if (!isPolling(this.state)) this.polling.fallback = howFar(this.state);
    this.#forgetWebsocket();
    if (isFailure && !wasSteady && !isPolling(this.state)) {
      this.reconnector.failed(); // 7.21
      if (this.#isFromProbe) this.#probes.failed(); // a way back that does not hold (7.28)
    }
    const reaction = reactionOf(code, isNewest);
    if (reaction === "stop") this.end(code, message, now);
    else if (reaction === "new token") {
      this.#triesToken = !hasWebsocket(this.state) && !this.#triesToken; // 7.40
      this.wantToken(code, message, now);
    } else {
      this.#triesToken = false;
      if (reaction === "new session") this.sessionId = null;
      if (isPolling(this.state)) this.#probeLost(now, isFailure);
      else this.#waitOrFallBack("lost", now);
    }
    if (isFailure) this.#reportError(code, message);
  }

  /**
   * @param {ClientInput} input
   * @param {number} now
   * @param {{ atOnce?: boolean, probeAt?: number | null }} [how]
   */
  #waitOrFallBack(input, now, { atOnce = false, probeAt = null } = {}) {
    if (this.#fallsBack(now)) {
      this.#fallBack(now, atOnce && this.#isFromProbe ? now : probeAt);
      return;
    }
    const at = atOnce ? this.reconnector.earliest(now) : this.reconnector.nextAttemptAt(now);
    if (at === null) {
      const why = this.lastError === null ? "" : `; last error: ${this.lastError.reason}`;
      this.end(null, `the reconnect policy gave up after ${this.reconnector.failures} failed attempts${why}`, now);
    } else {
      this.#turn(input, now);
      this.#timers.set("RETRY", at);
    }
  }

  // ---- fallback and probes ----

  /**
   * Nothing carries the session, and it is time to ask the fallback policy (7.25).
   *
   * @param {number} now
   */
  overdue(now) {
    if (!this.#fallsBack(now)) return;
    if (this.state === "waiting") {
      this.#timers.cancel("RETRY");
      this.#fallBack(now);
    } else this.leave(null, "polling takes over", now);
  }

  /**
   * Ask the fallback policy. If not now, a timer is set for when to ask again.
   *
   * @param {number} now
   */
  #fallsBack(now) {
    const { notBefore, failures } = this.reconnector;
    const since = Math.max(this.#troubledSince, notBefore);
    const waitS = this.#fallback.waitS({ failures, lastsS: Math.max(0, now - since) / NS_PER_S });
    if (waitS === null || ns(waitS) <= 0) {
      this.#timers.cancel("FALLBACK");
      return waitS !== null;
    }
    this.#timers.set("FALLBACK", Math.max(now, notBefore) + ns(waitS));
    return false;
  }

  /**
   * Polling takes over. `probeAt`: when the first probe is due; null: a whole wait from now on (7.28).
   *
   * @param {number} now
   * @param {number | null} [probeAt]
   */
  #fallBack(now, probeAt = null) {
    const earliest = this.reconnector.earliest(now);
    const firstPollAt = this.polling.firstPollAt(earliest);
    if (firstPollAt === null) {
      this.end(null, "the reconnect policy gave up on polling", now);
      return;
    }
    this.#turn("exhausted", now);
    this.polling.open(this.#newConnectionId(), this.#newGeneration(), this.token, firstPollAt);
    if (probeAt === null) this.#probes.schedule(now, earliest);
    else this.#timers.set("PROBE", Math.max(probeAt, earliest));
  }

  /**
   * @param {number} now
   * @param {boolean} isFailure
   */
  #probeLost(now, isFailure) {
    this.#turn("lost", now);
    if (isFailure) this.#probes.failed();
    // The server may have taken the probe for the session's newest connection; polling is newer again (7.30).
    this.polling.generation = this.#newGeneration();
    this.#probes.schedule(now, this.reconnector.earliest(now));
  }

  /**
   * Give up the requests in flight, and poll on a new connection. Behind a probe it keeps its generation: a probe that the server
   * has welcomed is the newer of the two (7.27).
   *
   * @param {number} firstPollAt
   * @param {number} now
   */
  replacePolling(firstPollAt, now) {
    const generation = this.websocket === null ? this.#newGeneration() : this.polling.generation;
    this.polling.close();
    this.polling.open(this.#newConnectionId(), generation, this.token, firstPollAt);
    if (!hasWebsocket(this.state)) this.#publishing.connectionLost();
    this.#lookWhetherCarried(now);
  }

  /**
   * Poll on a new connection, because of a new token or after the page was left; this ends no wait (7.37).
   *
   * @param {number} now
   */
  renewPolling(now) {
    const resendAt = this.#timers.deadlineOf("RESEND");
    this.replacePolling(this.polling.nextPollAt(now), now);
    if (resendAt !== null) this.#publishing.waitUntil(resendAt);
  }

  /**
   * A poll was answered: polling carries the session (7.42). Returns false if none was under way.
   *
   * @param {boolean} hasMore
   * @param {number} now
   */
  pollAnswered(hasMore, now) {
    if (!this.polling.pollAnswered(hasMore, now)) return false;
    this.#lookWhetherCarried(now);
    return true;
  }

  /**
   * A request was not answered in time, or not with an answer of the protocol: poll on a new connection (7.27).
   *
   * @param {string} reason
   * @param {number} now
   */
  abandonPolling(reason, now) {
    const { at } = this.polling.failed("poll", null, now);
    if (at === null) this.end(null, "the reconnect policy gave up on polling", now);
    else {
      this.replacePolling(at, now);
      this.#reportError(null, reason);
    }
  }

  /**
   * A request was refused, or its connection failed (5.8).
   *
   * @param {import("./frames.js").RequestFailed} failed
   * @param {number} now
   */
  requestFailed(failed, now) {
    const { generation, at } = this.polling.failed(failed.request, failed.retryAfterMs, now);
    this.#lookWhetherCarried(now);
    this.#keepWaits();
    const reaction = reactionOf(failed.code, generation === this.generation);
    if (reaction === "new session") this.sessionId = null;
    if (reaction === "stop") this.end(failed.code, failed.message, now);
    else if (reaction === "new token") this.wantToken(failed.code, failed.message, now);
    else if (at === null) this.end(null, "the reconnect policy gave up on polling", now);
    else if (failed.request === "publishMany" && !hasWebsocket(this.state)) {
      this.#publishing.connectionLost();
      this.#publishing.waitUntil(at);
    }
    this.#reportError(failed.code, failed.message);
  }

  // ---- tokens, and the end ----

  /**
   * The server takes this token no longer (7.40).
   *
   * @param {number | null} code
   * @param {string} message
   * @param {number} now
   */
  wantToken(code, message, now) {
    if (!this.#context.config.refreshesToken) {
      this.end(code, message, now);
      return;
    }
    // 7.40: a probe that waits, or is dropped with the rest, is due still. Else none would come where tokens live shorter than the
    // wait for a probe.
    const isProbing = isPolling(this.state) && this.websocket !== null;
    this.#probeAt = isProbing ? now : this.#timers.deadlineOf("PROBE");
    this.#dropTransports();
    this.#turn("token_wanted", now);
    this.#timers.set("TOKEN", now + ns(this.#context.config.tokenTimeoutS));
    this.#context.actions.push({ kind: "refreshToken" });
  }

  /**
   * The server warns that it will not take this token for long (4.18, 7.36).
   *
   * @param {number} inMs
   * @param {number} now
   */
  tokenExpires(inMs, now) {
    this.#expiresAt = now + inMs * NS_PER_MS;
    this.askForToken();
  }

  /**
   * The application has no newer one yet: ask again after half of the time that is left (7.36).
   *
   * @param {number} now
   */
  tokenIsTheSame(now) {
    const left = this.#expiresAt === null ? 0 : this.#expiresAt - now;
    if (hasWebsocket(this.state) && left > 0) {
      this.#timers.set("REFRESH", now + Math.max(Math.floor(left / 2), ns(ASK_AGAIN_S_MIN)));
    }
  }

  askForToken() {
    if (this.#context.config.refreshesToken) this.#context.actions.push({ kind: "refreshToken" });
  }

  /**
   * The application has supplied a token that was wanted. A wait may be longer than it lives, so it is tried at once if it was an
   * attempt that showed the last one to be too old; but not two in a row (7.40).
   *
   * @param {number} now
   * @param {{ isNew: boolean }} how
   */
  tokenGiven(now, { isNew }) {
    this.#timers.cancel("TOKEN");
    this.#expiresAt = null;
    this.#waitOrFallBack("token_given", now, { atOnce: this.#triesToken && isNew, probeAt: this.#probeAt });
  }

  /**
   * The session is over; whatever is unanswered fails visibly (7.39).
   *
   * @param {number | null} code
   * @param {string} message
   * @param {number} now
   */
  end(code, message, now) {
    this.#dropTransports();
    this.#publishing.giveUp(`the session ended: ${message}`);
    this.#timers.cancelAll();
    this.#turn("end", now);
    this.#context.outcomes.push({ kind: "end", code, message });
  }

  // ---- internal ----

  /**
   * An attempt failed, or a connection was lost. The application is told each reason once, while nothing carries the session (7.43).
   *
   * @param {number | null} code
   * @param {string} reason
   */
  #reportError(code, reason) {
    if (this.state === "closed" || hasWebsocket(this.state)) return;
    this.lastError = { code, reason };
    if (this.isCarried || this.#reportedErrors.some((each) => each.code === code && each.reason === reason)) return;
    this.#reportedErrors = [...this.#reportedErrors.slice(1 - REPORTED_ERRORS_MAX), this.lastError];
    this.#context.outcomes.push({ kind: "notConnected", code, reason });
  }

  /**
   * Whether this has changed; then it is reported, for the application, for the server and for health alike (7.42).
   *
   * @param {number} now
   */
  #lookWhetherCarried(now) {
    const isCarried = hasWebsocket(this.state) || (isPolling(this.state) && this.polling.carries);
    if (isCarried === this.isCarried) return false;
    this.isCarried = isCarried;
    this.#context.outcomes.push({ kind: "state", state: this.state, isCarried });
    if (isCarried) {
      this.#reportedErrors = [];
      this.#context.report.recovered(now);
      this.#record.connected();
    } else if (this.state !== "closed") this.#context.report.lost(now, this.#silentSince);
    this.#silentSince = null;
    return true;
  }

  /**
   * @param {ClientInput} input
   * @param {number} now
   */
  #turn(input, now) {
    const state = TRANSITIONS[this.state][input];
    if (state === undefined) throw new Error(`a bug in the client: ${input} while ${this.state}`);
    this.state = state;
    if (!this.#lookWhetherCarried(now)) this.#context.outcomes.push({ kind: "state", state, isCarried: this.isCarried });
  }

  /** @param {number} now */
  #connect(now) {
    this.websocket = this.#newConnectionId();
    this.websocketGeneration = this.#newGeneration();
    this.#context.actions.push({ kind: "open", connectionId: this.websocket, transport: "websocket", token: this.token });
    this.#timers.set("CONNECT", now + ns(this.#context.config.connectTimeoutS)); // 7.20
  }

  #newConnectionId() {
    this.#lastConnectionId += 1;
    return this.#lastConnectionId;
  }

  #newGeneration() {
    this.generation += 1; // 2.6
    return this.generation;
  }

  #forgetWebsocket() {
    this.websocket = null;
    this.#timers.cancel("CONNECT");
    this.#timers.cancel("STEADY");
    this.#timers.cancel("REFRESH");
    this.#keepalive.stopped();
    this.#delivery.disconnected();
  }

  #stopPolling() {
    this.polling.close();
    this.#timers.cancel("PROBE");
  }

  #dropTransports() {
    this.#stopPolling();
    if (this.websocket !== null) {
      this.#context.actions.push({ kind: "close", connectionId: this.websocket, code: 1000, message: "leaving" }); // 6.5
    }
    this.#timers.cancel("RETRY");
    this.#timers.cancel("FALLBACK");
    this.#forgetWebsocket();
    this.#publishing.connectionLost();
  }
}

/**
 * How far a WebSocket came that was lost in this state, for the server's records.
 *
 * @param {ClientState} state
 * @returns {import("./frames.js").FallbackReason}
 */
function howFar(state) {
  return state === "connecting" || state === "greeting" ? HOW_FAR[state] : "not_steady";
}

/**
 * The reaction to a close code. If we have opened something newer, we were superseded by ourselves (7.30).
 *
 * @param {number | null} code
 * @param {boolean} isNewest
 * @returns {Reaction}
 */
function reactionOf(code, isNewest) {
  return code === CloseCode.SUPERSEDED && !isNewest ? "resume" : reactionTo(code);
}
