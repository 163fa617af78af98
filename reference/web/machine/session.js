/**
 * The client's session: one client in one run, across connections and transports. No DOM, clock, randomness or I/O.
 *
 * Inputs come from the application, the network and the clock; outputs are actions for the driver (`takeActions`) and outcomes for the
 * application (`takeOutcomes`). Its parts:
 *
 *     application -> Publishing (Outbox) -> Connectivity: WebSocket, or Polling -> server
 *     server -> Connectivity: WebSocket, or Polling -> Delivery (Inbox, Roster) -> application
 *
 * Both transports feed the same outbox and the same inbox, so a change of transport changes nothing else. Of all connections that it
 * ever opened, the session listens to at most one WebSocket and one polling connection; whatever arrives on another is too late and is
 * ignored (3.11). A timer that falls due with an input fires with it, after it.
 */

import { Connectivity } from "./connectivity.js";
import { Context } from "./context.js";
import { Delivery } from "./delivery.js";
import { CloseCode, LocalError, RemoteError, SessionClosed } from "./errors.js";
import { EventRegistry } from "./events.js";
import { HealthRecord } from "./health.js";
import { Keepalive, PINGS_REMEMBERED_MAX } from "./keepalive.js";
import { EveryInterval, FallBackAfter, FullJitter } from "./policies.js";
import { Publishing } from "./publishing.js";
import { MAY_RECEIVE, hasWebsocket, isPolling } from "./states.js";
import { TIMERS } from "./timers.js";

/**
 * @typedef {import("./context.js").Action} Action
 * @typedef {import("./context.js").Outcome} Outcome
 * @typedef {import("./frames.js").AnswerFrame} AnswerFrame
 * @typedef {import("./frames.js").ClientFrame} ClientFrame
 * @typedef {import("./frames.js").PollAnswer} PollAnswer
 * @typedef {import("./frames.js").RequestKind} RequestKind
 * @typedef {import("./frames.js").ServerFrame} ServerFrame
 * @typedef {import("./frames.js").Welcome} Welcome
 *
 * The state of an earlier page. `position` null: none. Times in ns, on this session's clock, so they may be below 0.
 * @typedef {object} Remembered
 * @property {number} generation the highest that was used
 * @property {string | null} sessionId
 * @property {{ epoch: string, last: number } | null} position
 * @property {import("./outbox.js").RememberedOutbox} outbox
 */

/** See the module. All times are ns on a clock of the driver's that never goes backwards. */
export class ClientSession {
  #context;
  #record;
  #publishing;
  #delivery;
  #keepalive;
  #connectivity;

  /**
   * @param {string} clientId 2.2
   * @param {object} parts
   * @param {Readonly<import("./config.js").ClientConfig>} parts.config
   * @param {import("./policies.js").Draws} parts.draws
   * @param {import("./policies.js").ReconnectPolicy} [parts.reconnect]
   * @param {import("./policies.js").FallbackPolicy} [parts.fallback] default: as the config says
   * @param {import("./policies.js").KeepalivePolicy} [parts.keepalive] default: as the config says
   * @param {EventRegistry} [parts.registry]
   * @param {string | null} [parts.token]
   * @param {Remembered | null} [parts.remembered]
   */
  constructor(clientId, { config, draws, reconnect, fallback, keepalive, registry, token = null, remembered = null }) {
    this.clientId = clientId;
    this.config = config;
    this.#context = new Context(config);
    this.#record = new HealthRecord(config.roundTripSamplesMax);
    this.#publishing = new Publishing(this.#context, registry ?? new EventRegistry(), this.#record);
    this.#delivery = new Delivery(this.#context);
    const everyInterval = new EveryInterval({ intervalS: config.pingIntervalS, timeoutS: config.pingTimeoutS });
    this.#keepalive = new Keepalive(this.#context, this.#record, keepalive ?? everyInterval);
    this.#connectivity = new Connectivity({
      clientId,
      context: this.#context,
      publishing: this.#publishing,
      delivery: this.#delivery,
      keepalive: this.#keepalive,
      record: this.#record,
      reconnect: reconnect ?? new FullJitter(),
      fallback: fallback ?? new FallBackAfter({ failures: config.fallbackAfterFailures }),
      draws,
      token,
    });
    if (remembered !== null) this.#restore(remembered);
  }

  /** @param {Remembered} remembered */
  #restore({ generation, sessionId, position, outbox }) {
    this.#connectivity.generation = generation; // 2.6: above all before it, those of earlier pages too
    this.#connectivity.sessionId = sessionId;
    if (position !== null) this.#delivery.restore(position.epoch, position.last);
    this.#publishing.outbox.restore(outbox);
    this.#publishing.isEmpty = false;
    this.#publishing.watchAge();
  }

  // ---- inputs from the application ----

  /**
   * Begin to connect.
   *
   * @param {number} now
   */
  start(now) {
    this.#connectivity.start(now);
  }

  /**
   * Queue one event and return its ticket; an outcome "accepted" or "failed" will name it.
   *
   * @param {string} eventType
   * @param {unknown} data
   * @param {number} now
   * @returns {number}
   * @throws {import("./errors.js").InvalidEvent | import("./errors.js").OutboxFull | SessionClosed} nothing was queued then
   */
  publish(eventType, data, now) {
    this.#checkOpen();
    const ticket = this.#publishing.publish(eventType, data, now);
    this.#sendWaiting(now);
    return ticket;
  }

  /**
   * Show this user's cursor to the others. Only the latest is kept; without a connection it waits for one (7.11).
   *
   * @param {unknown} data
   * @param {number} now
   */
  moveCursor(data, now) {
    this.#checkOpen();
    this.#publishing.moveCursor(data);
    this.#sendWaiting(now);
  }

  /**
   * The application does not read: take no more sequenced events until `releaseEvents` (7.19). The position stays where it is, so
   * nothing is lost and nothing is kept; everything else goes on, answers to publishes among it.
   */
  holdEvents() {
    this.#delivery.hold();
  }

  /**
   * The application reads again: go on from the position, by a resume if something was passed over.
   *
   * @param {number} now
   */
  releaseEvents(now) {
    if (!this.#delivery.release(now)) return;
    if (hasWebsocket(this.state)) {
      const reason = "events were passed over while the application did not read";
      this.#connectivity.leave(CloseCode.GOING_AWAY, reason, now, { isFailure: false });
    } else if (isPolling(this.state)) this.#connectivity.polling.pollSoon(now);
    this.#sendWaiting(now);
    this.handleTimeout(now);
  }

  /**
   * Leave. Whatever is still unanswered fails visibly; presence leaves at once if the server can be told (7.38).
   *
   * @param {number} now
   * @param {string} reason
   */
  close(now, reason = "closed by the application") {
    if (this.state === "closed") return;
    if (hasWebsocket(this.state)) this.#send({ type: "bye" });
    this.#connectivity.end(null, reason, now);
  }

  /**
   * The application has a new token (7.37). If it is the one that the session has already, it is not sent again (7.36).
   *
   * @param {string} token
   * @param {number} now
   */
  handleToken(token, now) {
    const isNew = token !== this.#connectivity.token;
    this.#connectivity.token = token;
    if (this.state === "refreshing") {
      this.#connectivity.tokenGiven(now, { isNew });
      this.handleTimeout(now);
    } else if (!isNew) this.#connectivity.tokenIsTheSame(now);
    else if (hasWebsocket(this.state)) this.#send({ type: "auth", token });
    else if (isPolling(this.state)) this.#connectivity.renewPolling(now);
  }

  /**
   * Send a ping now, besides those of the keepalive policy. Returns its nonce, or null if no WebSocket is welcomed.
   *
   * @param {number} now
   */
  ping(now) {
    if (!hasWebsocket(this.state)) return null;
    const ping = this.#keepalive.ping(now, this.queuedMessages);
    this.#send(ping);
    return ping.nonce;
  }

  #checkOpen() {
    if (this.state === "closed") throw new SessionClosed("the session has ended; open a new one");
    if (this.state === "new") throw new LocalError("start the session first");
  }

  // ---- inputs from the network ----

  /**
   * The WebSocket is open, its handshake done.
   *
   * @param {number} connectionId
   * @param {number} now
   */
  connectionOpened(connectionId, now) {
    if (connectionId !== this.#connectivity.websocket) return; // 3.11
    this.#connectivity.opened(now);
    this.#delivery.greeted();
    this.#send(this.#connectivity.hello(this.position));
  }

  /**
   * The WebSocket could not be opened, or has ended; `code` is the peer's close code, null if there was none.
   *
   * @param {number} connectionId
   * @param {number | null} code
   * @param {number} now
   * @param {{ message?: string, retryAfterMs?: number | null }} [how]
   */
  connectionLost(connectionId, code, now, { message = "", retryAfterMs = null } = {}) {
    if (connectionId !== this.#connectivity.websocket) return;
    if (retryAfterMs !== null) this.#connectivity.askedToWait(now, retryAfterMs, null);
    this.#connectivity.lost(code, message || "the connection was lost", now);
    this.#sendWaiting(now);
    this.handleTimeout(now);
  }

  /**
   * Some bytes came, perhaps a part of a large frame: any byte counts as life (7.32). On a polling connection: of whose answer.
   *
   * @param {number} connectionId
   * @param {number} now
   * @param {RequestKind | null} request
   */
  bytesReceived(connectionId, now, request = null) {
    if (connectionId === this.#connectivity.websocket) {
      this.#keepalive.heard(now);
      this.#delivery.bytesCame(now);
    } else if (connectionId === this.#connectivity.polling.connectionId && request !== null) {
      this.#connectivity.polling.bytesCame(request, now);
    }
  }

  /**
   * A frame has arrived whole. A frame that breaks the protocol ends its connection.
   *
   * @param {number} connectionId
   * @param {ServerFrame | AnswerFrame} frame
   * @param {number} now
   */
  receiveFrame(connectionId, frame, now) {
    try {
      if (connectionId === this.#connectivity.websocket) this.#receiveOnWebsocket(/** @type {ServerFrame} */ (frame), now);
      else if (connectionId === this.#connectivity.polling.connectionId) this.#receiveAnswer(/** @type {AnswerFrame} */ (frame), now);
      this.#sendWaiting(now);
      this.handleTimeout(now);
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      this.receiveMalformed(connectionId, error, now);
    }
  }

  /**
   * Something arrived that the protocol does not allow. Its connection is left; the session goes on elsewhere.
   *
   * @param {number} connectionId
   * @param {RemoteError} error
   * @param {number} now
   */
  receiveMalformed(connectionId, error, now) {
    if (connectionId === this.#connectivity.websocket) this.#connectivity.leave(error.code, error.message, now);
    else if (connectionId === this.#connectivity.polling.connectionId) this.#connectivity.abandonPolling(error.message, now);
    this.#sendWaiting(now);
    this.handleTimeout(now);
  }

  /**
   * Whatever was open is gone, as after a page was left and shown again.
   *
   * @param {number} now
   * @param {string} message
   */
  networkLost(now, message) {
    const { websocket } = this.#connectivity;
    if (websocket !== null) this.connectionLost(websocket, null, now, { message });
    if (isPolling(this.state)) this.#connectivity.renewPolling(now);
    this.handleTimeout(now);
  }

  /**
   * The network of this machine is back (the browser's `online`): do not wait for the next attempt (7.44).
   *
   * @param {number} now
   */
  networkReturned(now) {
    this.#connectivity.networkReturned(now);
    this.handleTimeout(now);
  }

  // ---- time ----

  /** When `handleTimeout` is to be called, in ns, or null. */
  nextDeadline() {
    return this.#context.timers.nextDeadline();
  }

  /**
   * Fire every timer that has expired by `now`.
   *
   * @param {number} now
   */
  handleTimeout(now) {
    for (;;) {
      const timer = this.#context.timers.popExpired(now);
      if (timer === null) return;
      this.#fire(timer, now);
      this.#sendWaiting(now);
    }
  }

  // ---- outputs ----

  /** Actions for the driver, in order. @returns {Action[]} */
  takeActions() {
    return this.#context.actions.splice(0);
  }

  /** Outcomes for the application, in order. @returns {Outcome[]} */
  takeOutcomes() {
    return this.#context.outcomes.splice(0);
  }

  /** The changes of the outbox since the last call, or null: for a driver that stores it. */
  takeOutboxChanges() {
    return this.#publishing.outbox.takeChanges();
  }

  // ---- properties ----

  get state() {
    return this.#connectivity.state;
  }

  /** The server's name for this session; null before it has been welcomed. */
  get sessionId() {
    return this.#connectivity.sessionId;
  }

  /** The highest generation that was used (2.6). */
  get generation() {
    return this.#connectivity.generation;
  }

  /** Epoch and number of the last event handed over (2.8). */
  get position() {
    const { epoch, last } = this.#delivery.inbox;
    return { epoch, last };
  }

  /** The transport that carries the session now. While a welcomed probe proves itself, both do; this names the newer. */
  get transport() {
    return this.#connectivity.transport;
  }

  /** Messages that wait to be sent or answered. */
  get queuedMessages() {
    return this.#publishing.outbox.size;
  }

  /** The next ticket and the next number; to be stored with the outbox. */
  get numbering() {
    return this.#publishing.outbox.numbering;
  }

  /** The messages themselves, oldest first. */
  get pending() {
    return this.#publishing.outbox.messages.map(({ ticket, eventType, data, clientSequence }) => ({
      ticket,
      eventType,
      data,
      state: /** @type {"queued" | "unanswered"} */ (clientSequence === null ? "queued" : "unanswered"),
    }));
  }

  get activeUsers() {
    return this.#delivery.roster.users;
  }

  get cursors() {
    return this.#delivery.roster.cursors;
  }

  /** Of the last welcome; null before the first. */
  get limits() {
    return this.#publishing.limits;
  }

  /** Whether a welcomed WebSocket or answered polls carry the session (7.42). */
  get isCarried() {
    return this.#connectivity.isCarried;
  }

  /** Oldest first, in ms. */
  get roundTripsMs() {
    return this.#record.roundTripsMs;
  }

  /** When something is tried next that may carry the session, in ns; null if nothing waits for its time. */
  get nextAttempt() {
    const { timers } = this.#context;
    const websocketAt = timers.deadlineOf("RETRY") ?? timers.deadlineOf("PROBE");
    const pollAt = this.#connectivity.polling.carries ? null : timers.deadlineOf("POLL");
    if (pollAt !== null && (websocketAt === null || pollAt < websocketAt)) return { kind: /** @type {const} */ ("poll"), at: pollAt };
    return websocketAt === null ? null : { kind: /** @type {const} */ ("websocket"), at: websocketAt };
  }

  /** A snapshot (7.33, 7.34). */
  health() {
    const { status, isCarried, lastError } = this.#connectivity;
    return this.#record.report(status, this.transport, this.queuedMessages, { isCarried, lastError: lastError?.reason ?? null });
  }

  /** How much there is of everything that can grow, each with its limit. */
  held() {
    const { config } = this;
    const { outbox } = this.#publishing;
    return [
      { what: "messages in the outbox", length: outbox.size, limit: config.outboxMessagesMax },
      { what: "bytes in the outbox", length: outbox.sizeBytes, limit: config.outboxBytesMax },
      { what: "unanswered publishes", length: outbox.unanswered, limit: config.unansweredMax },
      { what: "held events", length: this.#delivery.inbox.held, limit: config.inboxHeldMax },
      { what: "remembered pings", length: this.#keepalive.remembered, limit: PINGS_REMEMBERED_MAX },
      { what: "timers", length: this.#context.timers.size, limit: Object.keys(TIMERS).length },
    ];
  }

  // ---- frames on the WebSocket ----

  /**
   * @param {ServerFrame} frame
   * @param {number} now
   */
  #receiveOnWebsocket(frame, now) {
    if (!MAY_RECEIVE[this.state].has(frame.type)) throw new RemoteError(CloseCode.BAD_FRAME, `${frame.type} while ${this.state}`); // 3.9
    this.#keepalive.heard(now);
    this.#delivery.bytesCame(now);
    switch (frame.type) {
      case "events":
        if (this.#delivery.events(frame.events, now)) {
          this.#connectivity.leaveForGap(`event ${this.position.last + 1} is missing`, now);
        } else if (this.#delivery.isAckDue(now)) this.#send(this.#delivery.takeAck());
        break;
      case "welcome":
        this.#welcomed(frame, now);
        break;
      case "snapshot":
        this.#delivery.snapshot(frame, now);
        break;
      case "presence":
        this.#context.handOver(this.#delivery.roster.presence(frame));
        break;
      case "cursors":
        this.#context.handOver(this.#delivery.roster.moved(frame));
        break;
      case "accepted":
      case "rejected":
        this.#publishing.receive(frame, now, this.#delivery.streamEpoch);
        break;
      case "heartbeat":
        this.#delivery.heartbeat(frame.head, now);
        break;
      case "pong":
        if (this.#keepalive.pong(frame.nonce, now) && (this.state === "proving" || this.state === "probe_proving")) {
          this.#connectivity.proven(now);
        }
        break;
      case "expiring":
        this.#connectivity.tokenExpires(frame.inMs, now);
        break;
      case "goaway":
        this.#connectivity.sentAway(frame, now);
        break;
      case "error": // the close that follows carries the same code (3.10)
        break;
      default:
        throw new Error(`a bug in the client: ${/** @type {never} */ (frame)} may come and is not dealt with`);
    }
  }

  /**
   * @param {Welcome} welcome
   * @param {number} now
   */
  #welcomed(welcome, now) {
    this.#connectivity.welcomed(welcome.sessionId, welcome.retry.firstSpreadMs / 1000, now);
    this.#publishing.serverKnows(welcome.lastClientSequence, { isReset: welcome.outcome === "reset" });
    this.#publishing.keepLimits(welcome.limits);
    this.#keepalive.keepLimit(welcome.limits.silenceMaxMs);
    this.#delivery.welcomed(welcome, now);
    this.#send(this.#keepalive.ping(now, this.queuedMessages));
  }

  // ---- answers over polling ----

  /**
   * @param {AnswerFrame} answer
   * @param {number} now
   */
  #receiveAnswer(answer, now) {
    if (answer.type === "polled") this.#receivePoll(answer, now);
    else if (answer.type === "published") {
      if (!this.#connectivity.polling.publishAnswered()) return;
      for (const result of answer.results) this.#publishing.receive(result, now, answer.epoch);
    } else if (answer.type === "requestFailed") this.#connectivity.requestFailed(answer, now);
    else throw new RemoteError(CloseCode.BAD_FRAME, `${/** @type {{ type: string }} */ (answer).type} is not an answer to a request`);
  }

  /**
   * @param {PollAnswer} answer
   * @param {number} now
   */
  #receivePoll(answer, now) {
    const { polling } = this.#connectivity;
    if (!this.#connectivity.pollAnswered(answer.hasMore && !this.#delivery.isHolding, now)) return;
    this.#connectivity.sessionId = answer.sessionId ?? this.#connectivity.sessionId;
    this.#publishing.serverKnows(answer.lastClientSequence, { isReset: answer.outcome === "reset" });
    this.#delivery.poll(answer, polling.askedInEpoch, { takesRoster: !hasWebsocket(this.state) });
  }

  // ---- sending ----

  /** @param {ClientFrame} frame */
  #send(frame) {
    const connectionId = /** @type {number} */ (this.#connectivity.websocket); // this is sent over WebSocket
    this.#context.actions.push({ kind: "send", connectionId, frame });
  }

  /**
   * Send waiting messages, on the transport that carries the session now.
   *
   * @param {number} now
   */
  #sendWaiting(now) {
    if (this.#publishing.isEmpty) return;
    const { polling } = this.#connectivity;
    if (hasWebsocket(this.state)) {
      const { messages, cursor } = this.#publishing.take(now, { asOneBody: false });
      for (const message of messages) this.#send({ type: "publish", ...message });
      if (cursor !== null) this.#send({ type: "cursor", data: cursor });
    } else if (isPolling(this.state) && polling.mayPublish(now)) {
      const { messages, cursor } = this.#publishing.take(now, { asOneBody: true });
      if (messages.length > 0 || cursor !== null) polling.publish(messages, cursor, now);
    }
  }

  // ---- timers ----

  /**
   * @param {import("./timers.js").Timer} timer
   * @param {number} now
   */
  #fire(timer, now) {
    switch (timer) {
      case "CONNECT": {
        const missing = this.state === "greeting" || this.state === "probe_greeting" ? "no welcome" : "no connection";
        this.#connectivity.leave(null, `connect timeout: ${missing} within ${this.config.connectTimeoutS} s`, now); // 6.6
        break;
      }
      case "RETRY":
      case "PROBE":
        this.#connectivity.due(now);
        break;
      case "FALLBACK":
        this.#connectivity.overdue(now);
        break;
      case "PING":
        if (this.#keepalive.isPingDue(now)) this.#send(this.#keepalive.ping(now, this.queuedMessages));
        break;
      case "PONG":
        if (this.#keepalive.isDead(now)) this.#connectivity.leave(CloseCode.HEARTBEAT_LOST, this.#keepalive.verdict, now);
        break;
      case "TAIL":
        if (this.#delivery.isBehind) this.#connectivity.leaveForGap(`event ${this.position.last + 1} has not come`, now);
        break;
      case "STEADY":
        this.#connectivity.steady();
        break;
      case "ACK":
        if (this.#delivery.mayAck) this.#send(this.#delivery.takeAck());
        break;
      case "RESEND":
        this.#publishing.resend();
        break;
      case "CURSOR": // waiting messages are sent after every timer
        break;
      case "EXPIRE":
        this.#publishing.expire(now);
        break;
      case "POLL":
        this.#connectivity.polling.poll(this.position, this.sessionId, this.queuedMessages, now);
        break;
      case "POLL_LIMIT":
      case "PUBLISH_LIMIT":
        this.#connectivity.abandonPolling(`request timeout: no answer within ${this.config.requestTimeoutS} s`, now);
        break;
      case "REFRESH":
        this.#connectivity.askForToken();
        break;
      case "TOKEN":
        this.#connectivity.end(CloseCode.TOKEN, "the application supplied no token in time", now);
        break;
      default:
        throw new Error(`a bug in the client: no such timer as ${/** @type {never} */ (timer)}`);
    }
  }
}
