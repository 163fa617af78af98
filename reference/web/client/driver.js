/**
 * The driver: it owns one session machine; no other code calls the machine.
 *
 * Whatever happens (a call of the application's, a frame, the alarm) is one input. For each, without a pause in between: feed it, have
 * its changes stored, carry out the actions, hand over the outcomes, arm the alarm for the next deadline. Nothing in that waits. The
 * frames of a connection leave in order, each when everything is stored that it says (`writer.js`).
 */

import { RunFold } from "../machine/events.js";
import { ClientSession } from "../machine/session.js";
import { Alarm, SessionTime } from "./clock.js";
import { Failures } from "./failures.js";
import { randomText } from "./indexeddb.js";
import { NoAnswer, inTime } from "./storage.js";
import { PollingConnection, WebSocketConnection } from "./transports.js";
import { Writer } from "./writer.js";

/**
 * @typedef {import("../machine/context.js").Action} Action
 * @typedef {import("../machine/context.js").Outcome} Outcome
 * @typedef {import("../machine/events.js").RunState} RunState
 * @typedef {import("../machine/frames.js").ClientFrame} ClientFrame
 * @typedef {import("../machine/frames.js").RequestFrame} RequestFrame
 * @typedef {import("./clock.js").Clock} Clock
 * @typedef {import("./failures.js").Failure} Failure
 * @typedef {import("./storage.js").Lease} Lease
 * @typedef {import("./storage.js").StoredPosition} StoredPosition
 * @typedef {import("./transports.js").Connection} Connection
 * @typedef {import("./transports.js").NetworkSwitch} NetworkSwitch
 *
 * The machine's outcomes, and the stored state of an earlier page.
 * @typedef {Outcome | { kind: "stored", epoch: string, sequenceNumber: number, state: RunState }} Told
 *
 * @typedef {object} Surroundings
 * @property {Clock} clock
 * @property {() => number} random in [0, 1)
 * @property {NetworkSwitch} network
 * @property {{ websocket: string, http: string }} urls of the run's collaboration
 * @property {(outcome: Told) => void} tell
 * @property {() => void} turned after each input
 * @property {() => void} refreshToken
 * @property {(error: unknown) => void} storageFailed
 * @property {() => void} lost this session cannot go on: what is stored of it may be the next page's
 *
 * What becomes of the unsettled publishes of a session that cannot go on, by ticket.
 * @typedef {object} LeftBehind
 * @property {number[]} moved they are stored, and the next owner of the lease sends them
 * @property {{ ticket: number, eventType: string, data: import("../machine/events.js").Data }[]} unsent nobody else can send them
 * @property {Failed[]} unknown nobody knows whether they are stored, or have arrived
 * @property {Failure[]} failures those
 *
 * A failed publish, as its application is told.
 * @typedef {Omit<Failure, "id" | "failedAtMs"> & { ticket: number }} Failed
 */

const POSITION_MS_MIN = 1000;
const POSITION_MS_PER_BYTE = 1000 / 65_536; // a large state is written less often: 64 KiB a second
const LATE_MS_MIN = 1000; // a page that stood still reads its messages before it judges a silence
const READ_FIRST_MS = 100;
const CLOSING_MS_MAX = 2000;
const UNKNOWN = "the browser's storage has failed; if it holds this publish, the next page of this run sends it";
/** How long a measured round trip may take. */
export const PONG_MS_MAX = 60_000;

/** A connection with the frames that wait to be sent. */
class Outgoing {
  /** @type {{ frame: ClientFrame | RequestFrame, after: number }[]} */
  #waiting = [];
  /** @type {{ code: number | null, message: string } | null} */
  #closing = null;
  #writer;

  /**
   * @param {Connection} connection
   * @param {Writer} writer
   */
  constructor(connection, writer) {
    this.connection = connection;
    this.#writer = writer;
  }

  get isDone() {
    return this.#closing !== null && this.#waiting.length === 0;
  }

  /**
   * @param {ClientFrame | RequestFrame} frame
   * @param {number} after the change that is to be stored before
   */
  send(frame, after) {
    this.#waiting.push({ frame, after });
    this.flush();
  }

  /**
   * After all frames that were given before; with a null code at once.
   *
   * @param {number | null} code
   * @param {string} message
   */
  close(code, message) {
    if (code === null) this.#waiting = [];
    this.#closing = { code, message };
    this.flush();
  }

  flush() {
    while (this.#waiting.length > 0 && this.#writer.isStored(this.#waiting[0].after)) {
      this.connection.send(/** @type {{ frame: ClientFrame }} */ (this.#waiting.shift()).frame);
    }
    if (this.#closing !== null && this.#waiting.length === 0) this.connection.close(this.#closing.code, this.#closing.message);
  }
}

/** Drives one session from `start` to its end, on one lease. */
export class SessionDriver {
  #around;
  #lease;
  #writer;
  #time;
  #alarm;
  #positionAlarm;
  #fold = new RunFold();
  #isStateKnown = false;
  /** @type {Map<number, Outgoing>} */
  #connections = new Map();
  /** The stored change that frames wait for. */
  #gate = 0;
  #stored = {
    generation: 0,
    sessionId: /** @type {string | null} */ (null),
    epoch: /** @type {string | null} */ (null),
    last: -1,
  };
  #positionWrittenAt = -Infinity;
  #positionPauseMs = POSITION_MS_MIN;
  #isPositionDue = false;
  /** A page that stood still reads until then, by the monotonic clock. @type {number | null} */
  #readsUntilMs = null;
  #isSuspended = false;
  #failures = new Failures();
  /** The application leaves the run: unsettled publishes fail, and it knows this. */
  #isLeaving = false;
  /** The storage has failed while the page was left, and its lease was another's. @type {{ error: unknown } | null} */
  #failure = null;
  #isLost = false;
  /** It is not known whether the storage was cleared. */
  #isClearing = false;
  /** @type {Told[]} */
  #toTell = [];
  #isTelling = false;
  /** @type {Map<number, { sentAt: number, settle: (ms: number | null) => void }>} pings that somebody measures, by nonce */
  #measured = new Map();

  /**
   * @param {object} session
   * @param {string} session.clientId
   * @param {ConstructorParameters<typeof ClientSession>[1]} session.parts without draws
   * @param {Lease} session.lease
   * @param {import("./storage.js").StoredState | null} session.stored
   * @param {readonly import("./failures.js").Failure[]} session.failures that earlier pages have stored
   * @param {Surroundings} around
   */
  constructor({ clientId, parts, lease, stored, failures }, around) {
    this.#around = around;
    this.#lease = lease;
    this.#time = new SessionTime(around.clock);
    this.#writer = new Writer(lease, {
      clock: around.clock,
      kept: (stored?.messages ?? []).map(({ ticket }) => ticket),
      onStored: () => this.#flush(),
      onFailure: (error) => void this.#storageFailed(error),
    });
    this.#alarm = new Alarm(around.clock, () => this.#ring());
    this.#positionAlarm = new Alarm(around.clock, () => this.#storePosition());
    const remembered = stored === null ? null : this.#rememberedIn(stored);
    this.session = new ClientSession(clientId, { ...parts, draws: { uniform: () => around.random() }, remembered });
    if (stored?.position?.state) {
      const { epoch, last, state } = stored.position;
      this.#fold = new RunFold(state);
      this.#isStateKnown = true;
      this.#toTell.push({ kind: "stored", epoch, sequenceNumber: last, state });
    }
    const dismissed = failures.flatMap((failure) => this.#failures.add(failure));
    if (dismissed.length > 0) this.#writer.write({ dismissed });
  }

  /**
   * @param {import("./storage.js").StoredState} stored
   * @returns {import("../machine/session.js").Remembered}
   */
  #rememberedIn({ identity, position, messages }) {
    return {
      generation: identity.generation,
      sessionId: identity.sessionId,
      position: position === null ? null : { epoch: position.epoch, last: position.last },
      outbox: {
        numbering: identity.numbering,
        messages: messages.map(({ queuedAtMs, ...message }) => ({ ...message, queuedAt: this.#time.ofWallMs(queuedAtMs) })),
      },
    };
  }

  // ---- inputs ----

  start() {
    this.feed((session, now) => session.start(now));
  }

  /**
   * One input. Raises the input's error; then nothing has changed.
   *
   * @template T
   * @param {(session: ClientSession, now: number) => T} verb
   * @returns {T}
   */
  feed(verb) {
    const result = verb(this.session, this.#time.now());
    this.#turn();
    return result;
  }

  /** Leave the run. */
  leave() {
    this.#isLeaving = true;
    this.feed((session, now) => session.close(now));
  }

  /** @param {readonly string[]} ids */
  dismissFailures(ids) {
    const dismissed = this.#failures.dismiss(ids);
    if (dismissed.length > 0) this.#writer.write({ dismissed });
  }

  /**
   * Publish, and let the caller note the ticket before any outcome is delivered.
   *
   * @param {string} eventType
   * @param {unknown} data
   * @param {(ticket: number) => void} note
   */
  publish(eventType, data, note) {
    note(this.session.publish(eventType, data, this.#time.now()));
    this.#turn();
  }

  /**
   * Send a ping now and measure it. Resolves to ms, or null if it was not answered; null at once without a WebSocket.
   *
   * @returns {Promise<number | null>}
   */
  measure() {
    const nonce = this.session.ping(this.#time.now());
    if (nonce === null) return Promise.resolve(null);
    const measured = new Promise((/** @type {(ms: number | null) => void} */ settle) => {
      const late = this.#around.clock.setTimer(PONG_MS_MAX, () => settle(null));
      this.#measured.set(nonce, {
        sentAt: this.#time.now(),
        settle: (ms) => {
          this.#around.clock.clearTimer(late);
          settle(ms);
        },
      });
    });
    this.#turn();
    return measured;
  }

  /** The page has been shown, or its timers have changed: check the time, and set the alarm again. */
  wake() {
    if (this.#isSuspended) return;
    this.#arm();
  }

  // ---- properties ----

  /** @param {number} at in ns */
  wallMsOf(at) {
    return this.#time.wallMsOf(at);
  }

  get runState() {
    return this.#fold.state;
  }

  get failures() {
    return this.#failures.all;
  }

  /** From `suspend` until `resume` has succeeded: nothing that is fed is stored or sent. */
  get isSuspended() {
    return this.#isSuspended;
  }

  /** This session cannot go on: the storage has failed, and what it holds may be the next page's. */
  get isLost() {
    return this.#isLost;
  }

  /** The position with its state, as it would be stored now; null if there is none. @returns {StoredPosition | null} */
  get position() {
    const { epoch, last } = this.session.position;
    if (epoch === null || this.#toTell.length > 0) return null;
    return { epoch, last, state: this.#isStateKnown ? this.#fold.state : null };
  }

  // ---- suspend and resume ----

  /**
   * Leave the network, store the last changes, and let go of the lease, all of it at once: the page may be frozen or gone when this
   * returns. Nothing is fed until `resume`.
   */
  async suspend() {
    if (this.#isSuspended) return;
    this.#storePosition();
    this.#isSuspended = true;
    this.#alarm.set(null);
    this.#positionAlarm.set(null);
    for (const { connection } of this.#connections.values()) connection.close(4001, "the page was left"); // 6.1: to resume later
    this.#connections.clear();
    this.#giveUpMeasuring();
    this.#writer.flush();
    await this.#release();
  }

  /** Nobody waits for a storage that does not let go: the next owner of the lease does. */
  async #release() {
    try {
      await inTime(this.#around.clock, this.#lease.release());
    } catch (error) {
      this.#around.storageFailed(error);
    }
  }

  /** Resolves when the last changes of a suspended session are stored, to true; to false if the storage has failed, and tells it. */
  async isStored() {
    await this.#writer.settled();
    if (this.#failure === null) return !this.#isLost;
    this.#around.storageFailed(this.#failure.error);
    return false;
  }

  /**
   * What becomes of the unsettled publishes, if this session ends now and its data are left to the next owner of the lease.
   *
   * @returns {LeftBehind}
   */
  leaveBehind() {
    /** @type {LeftBehind} */
    const left = { moved: [], unsent: [], unknown: [], failures: [] };
    for (const { ticket, eventType, data, state } of this.session.pending) {
      const isKept = this.#isClearing && this.#writer.isKept(ticket) ? null : this.#writer.isKept(ticket);
      const mayBeSent = state === "unanswered" && this.#writer.isGivenUp;
      if (isKept === true) left.moved.push(ticket);
      else if (isKept === false && !mayBeSent) left.unsent.push({ ticket, eventType, data });
      else left.unknown.push({ ticket, eventType, data, code: "closed", message: UNKNOWN, mayHaveArrived: true });
    }
    left.failures = left.unknown.map((failed) => this.#failureOf(failed));
    for (const failure of left.failures) this.#failures.add(failure);
    return left;
  }

  /** What a session with another identity goes on from, if the storage cannot be used. */
  get carriedOver() {
    const { nextTicket } = this.session.numbering; // a ticket is never used twice in a page
    const numbering = { nextTicket, nextNumber: 1, lastAccepted: 0 };
    const identity = { clientId: randomText(), generation: 0, sessionId: null, numbering };
    return { stored: { identity, position: this.position, messages: [] }, failures: this.failures };
  }

  /** @param {readonly Failure[]} failures of an earlier session of this page too */
  keepFailures(failures) {
    const dismissed = failures.flatMap((failure) => this.#failures.add(failure));
    if (failures.length > 0) this.#writer.write({ failures: [...failures], dismissed });
  }

  /**
   * Resume. Returns false if the lease has another owner by now, or the storage does not give it back: then this driver cannot be used
   * any more.
   */
  async resume() {
    if (this.#isLost) return false;
    if (!this.#isSuspended) return true;
    const lease = this.#lease;
    try {
      if (!(await inTime(this.#around.clock, lease.retake(), (isOurs) => isOurs && lease.release()))) return false;
    } catch (error) {
      this.#around.storageFailed(error);
      return false;
    }
    this.#isSuspended = false;
    this.feed((session, now) => session.networkLost(now, "the page was left and shown again"));
    if (this.#failure !== null) await this.#storageFailed(this.#failure.error);
    return !this.#isLost;
  }

  /**
   * The session has ended: store that, and release the lease.
   *
   * @param {{ forgets: boolean }} how whether everything that is stored is deleted
   */
  async finish({ forgets }) {
    this.#alarm.set(null);
    this.#positionAlarm.set(null);
    this.#giveUpMeasuring();
    await this.#writer.settled();
    try {
      if (forgets) await inTime(this.#around.clock, this.#lease.clear());
    } catch (error) {
      this.#around.storageFailed(error);
    }
    await this.#release();
  }

  // ---- reports of connections ----

  /** @param {number} id */
  opened(id) {
    this.#fed((session, now) => session.connectionOpened(id, now));
  }

  /**
   * @param {number} id
   * @param {number | null} code
   * @param {string} message
   */
  lost(id, code, message) {
    this.#connections.delete(id);
    this.#giveUpMeasuring();
    this.#fed((session, now) => session.connectionLost(id, code, now, { message }));
  }

  /**
   * @param {number} id
   * @param {import("../machine/frames.js").ServerFrame | import("../machine/frames.js").AnswerFrame} frame
   */
  arrived(id, frame) {
    this.#fed((session, now) => {
      if (frame.type === "pong") this.#settleMeasured(frame.nonce, now);
      session.receiveFrame(id, frame, now);
    });
  }

  /**
   * @param {number} id
   * @param {import("../machine/errors.js").RemoteError} error
   */
  malformed(id, error) {
    this.#fed((session, now) => session.receiveMalformed(id, error, now));
  }

  /**
   * @param {number} id
   * @param {import("../machine/frames.js").RequestKind | null} request
   */
  bytesCame(id, request) {
    this.#fed((session, now) => session.bytesReceived(id, now, request));
  }

  /** @param {(session: ClientSession, now: number) => void} verb */
  #fed(verb) {
    if (!this.#isSuspended) this.feed(verb);
  }

  // ---- the loop ----

  #turn() {
    if (this.#isSuspended) return; // its output waits for `resume`
    const outcomes = this.session.takeOutcomes();
    this.#keepFailures(outcomes);
    this.#store();
    for (const action of this.session.takeActions()) this.#carryOut(action);
    this.#toTell.push(...outcomes);
    this.#arm();
    this.#tellAll();
    this.#around.turned();
  }

  /** In order, and one at a time: a publish from within a listener causes the next turn, not a nested one. */
  #tellAll() {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      while (!this.#isSuspended) {
        const told = this.#toTell.shift();
        if (told === undefined) break;
        this.#follow(told);
        this.#around.tell(told); // a listener may stop the client
      }
    } finally {
      this.#isTelling = false;
    }
  }

  #arm() {
    const deadline = this.session.nextDeadline();
    const waitMs = deadline === null ? null : (deadline - this.#time.now()) / 1e6;
    const readsMs = this.#readsUntilMs === null ? 0 : this.#readsUntilMs - this.#around.clock.monotonicMs();
    this.#alarm.set(waitMs === null ? null : Math.max(waitMs, readsMs));
  }

  #ring() {
    if (this.#isSuspended) return;
    const deadline = this.session.nextDeadline();
    const lateMs = deadline === null ? 0 : (this.#time.now() - deadline) / 1e6;
    if (lateMs > LATE_MS_MIN && this.#readsUntilMs === null) {
      this.#readsUntilMs = this.#around.clock.monotonicMs() + READ_FIRST_MS;
      this.#arm();
      return;
    }
    this.#readsUntilMs = null;
    this.feed((session, now) => session.handleTimeout(now));
  }

  /** @param {Action} action */
  #carryOut(action) {
    switch (action.kind) {
      case "open":
        this.#connections.set(action.connectionId, new Outgoing(this.#open(action), this.#writer));
        break;
      case "send":
        this.#connections.get(action.connectionId)?.send(action.frame, this.#gate);
        break;
      case "close":
        this.#close(action);
        break;
      case "refreshToken":
        this.#around.refreshToken();
        break;
      default:
        throw new Error(`a bug in the client: no driver knows ${/** @type {never} */ (action)}`);
    }
  }

  /** @param {Action & { kind: "open" }} action */
  #open({ connectionId, transport, token }) {
    const { network, urls, clock } = this.#around;
    return transport === "websocket"
      ? new WebSocketConnection(connectionId, urls.websocket, token, network, this)
      : new PollingConnection(connectionId, urls.http, token, network, this, () => clock.monotonicMs());
  }

  /** @param {Action & { kind: "close" }} action */
  #close({ connectionId, code, message }) {
    const outgoing = this.#connections.get(connectionId);
    if (outgoing === undefined) return;
    outgoing.close(code, message);
    this.#giveUpMeasuring();
    if (outgoing.isDone) this.#connections.delete(connectionId);
    else this.#around.clock.setTimer(CLOSING_MS_MAX, () => this.#cut(connectionId)); // the storage may take its time
  }

  /** @param {number} connectionId */
  #cut(connectionId) {
    this.#connections.get(connectionId)?.close(null, "");
    this.#connections.delete(connectionId);
  }

  // ---- storing ----

  /**
   * In the transaction in which the publish leaves the outbox.
   *
   * @param {readonly Outcome[]} outcomes
   */
  #keepFailures(outcomes) {
    if (this.#isLeaving) return;
    const failures = [];
    const dismissed = [];
    for (const outcome of outcomes) {
      if (outcome.kind !== "failed") continue;
      const { kind: _, ...failed } = outcome;
      const failure = this.#failureOf(failed);
      failures.push(failure);
      dismissed.push(...this.#failures.add(failure));
    }
    if (failures.length > 0) this.#writer.write({ failures, dismissed });
  }

  /**
   * @param {Failed} failed
   * @returns {Failure}
   */
  #failureOf({ ticket, ...failed }) {
    return { id: `${this.session.clientId}:${ticket}`, ...failed, failedAtMs: this.#around.clock.wallMs() };
  }

  #store() {
    const { session } = this;
    const changes = session.takeOutboxChanges();
    const isNewer = session.generation !== this.#stored.generation;
    if (changes !== null || isNewer || session.sessionId !== this.#stored.sessionId) {
      this.#stored.generation = session.generation;
      this.#stored.sessionId = session.sessionId;
      const put = (changes?.put ?? []).map(({ queuedAt, ...message }) => ({
        ...message,
        queuedAtMs: this.#time.wallMsOf(queuedAt),
      }));
      this.#writer.write({ identity: this.#identity(), put, removed: changes?.removed });
      if (isNewer || put.length > 0) this.#gate = this.#writer.last;
    }
  }

  #identity() {
    const { clientId, generation, sessionId, numbering } = this.session;
    return { clientId, generation, sessionId, numbering };
  }

  /** @param {Told} told */
  #follow(told) {
    if (told.kind === "snapshot" || told.kind === "reset") {
      this.#fold = new RunFold(told.state);
      this.#isStateKnown = true;
    } else if (told.kind === "event" && told.event.sequenceNumber !== null) {
      if (told.event.sequenceNumber === 1) this.#isStateKnown = true; // from the first event on nothing is missing
      this.#fold.apply(told.event);
    } else return;
    if (this.#positionWrittenAt === -Infinity) this.#positionWrittenAt = this.#around.clock.monotonicMs();
    if (this.#isPositionDue) return;
    this.#isPositionDue = true;
    this.#positionAlarm.set(this.#positionWrittenAt + this.#positionPauseMs - this.#around.clock.monotonicMs());
  }

  #storePosition() {
    this.#isPositionDue = false;
    const { position } = this;
    if (position === null || (position.epoch === this.#stored.epoch && position.last === this.#stored.last)) return;
    this.#stored.epoch = position.epoch;
    this.#stored.last = position.last;
    this.#writer.write({ position });
    this.#positionWrittenAt = this.#around.clock.monotonicMs();
    if (!this.#lease.isKept) return;
    this.#positionPauseMs = Math.max(POSITION_MS_MIN, JSON.stringify(position.state).length * POSITION_MS_PER_BYTE);
  }

  #flush() {
    for (const [id, outgoing] of this.#connections) {
      outgoing.flush();
      if (outgoing.isDone) this.#connections.delete(id);
    }
  }

  /** @param {unknown} error */
  async #storageFailed(error) {
    if (this.#isSuspended) {
      this.#failure = { error };
      return;
    }
    this.#failure = null;
    const isCleared = await this.#clear(error);
    this.#around.storageFailed(error);
    if (isCleared) {
      this.#writer.giveUp();
      this.#flush();
    } else {
      this.#isLost = true;
      this.#around.lost();
    }
  }

  /**
   * Delete what is stored, for a session that goes on without the storage: a page that started from the stored numbering would use
   * numbers twice. A change that was not answered may still be stored after that, so then nothing can be deleted for certain.
   *
   * @param {unknown} error of the storage
   */
  async #clear(error) {
    if (error instanceof NoAnswer) return false;
    try {
      await inTime(this.#around.clock, this.#lease.clear());
      return true;
    } catch (clearing) {
      this.#isClearing = clearing instanceof NoAnswer;
      return false;
    }
  }

  // ---- measuring ----

  /**
   * @param {number} nonce
   * @param {number} now
   */
  #settleMeasured(nonce, now) {
    const measured = this.#measured.get(nonce);
    this.#measured.delete(nonce);
    measured?.settle((now - measured.sentAt) / 1e6);
  }

  #giveUpMeasuring() {
    for (const { settle } of this.#measured.values()) settle(null);
    this.#measured.clear();
  }
}
