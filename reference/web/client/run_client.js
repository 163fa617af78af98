/**
 * The browser client: a page's access to a run. docs/browser.md says how to use it.
 *
 * A `RunClient` is an EventTarget. Publishing works from the start, connected or not, and across reloads: events wait in the
 * outbox and are sent, in order, when there is a transport. The machine decides everything (`machine/session.js`); this code waits,
 * stores, sends and delivers.
 */

import { clientConfig } from "../machine/config.js";
import { LocalError, OutboxFull, SessionClosed, SteadywireError } from "../machine/errors.js";
import { EventRegistry } from "../machine/events.js";
import { isPolling } from "../machine/states.js";
import { PageClock } from "./clock.js";
import { HealthWatch, healthOf } from "./connection_health.js";
import { PONG_MS_MAX, SessionDriver } from "./driver.js";
import { randomText } from "./indexeddb.js";
import { ownPage, watchPage } from "./lifecycle.js";
import { DELIVERIES_MAX, Mailbox, eventsOf } from "./mailbox.js";
import { checkedDeliveriesMax, checkedRunId, checkedToken, transportsOf, urlsOf } from "./options.js";
import { call, replay } from "./rest.js";
import { reportLater } from "./signal.js";
import { MemoryStorage, inTime, storageOfPage } from "./storage.js";
import { NetworkSwitch, headersOf, textOf } from "./transports.js";

/**
 * @typedef {import("../machine/config.js").ClientConfig} ClientConfig
 * @typedef {import("../machine/events.js").Data} Data
 * @typedef {import("../machine/events.js").RunEvent} RunEvent
 * @typedef {import("../machine/states.js").ClientState} ClientState
 * @typedef {import("./connection_health.js").Health} Health
 * @typedef {import("./failures.js").Failure} Failure
 * @typedef {import("./mailbox.js").Delivery} Delivery
 * @typedef {import("./options.js").Options} Options
 * @typedef {import("./storage.js").Lease} Lease
 *
 * @typedef {{ ticket: number, sequenceNumber: number, duplicate: boolean, epoch: string | null }} Accepted
 * @typedef {{ lease: Lease, stored: import("./storage.js").StoredState | null, failures: readonly Failure[] }} Acquired
 */

const TOKEN_RETRY_MS = 5000;
const CREATE_RUN_MS_MAX = 10_000;
const LOOPBACK = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/** The publish with this ticket was queued, and was given up. */
export class PublishFailedError extends SteadywireError {
  /** @param {{ ticket: number, code: string, message: string, mayHaveArrived: boolean }} why */
  constructor({ ticket, code, message, mayHaveArrived }) {
    super(`the publish failed (${code}): ${message}`);
    this.ticket = ticket;
    this.code = code;
    this.mayHaveArrived = mayHaveArrived;
  }
}

/** No transport carries the session now. */
export class NotConnectedError extends SteadywireError {}

/** See the module. */
export class RunClient extends EventTarget {
  #options;
  #deliveriesMax;
  #urls;
  #clock;
  #network;
  #registry;
  #config;
  #page;
  #health;
  /** @type {SessionDriver | null} */
  #driver = null;
  /** @type {Promise<void> | null} */
  #starting = null;
  /** @type {{ run: () => void, fail: (error: unknown) => void }[]} publishes that were made before there was a session */
  #early = [];
  /** @type {Map<number, { resolve: (accepted: Accepted) => void, reject: (error: Error) => void }>} by ticket */
  #tickets = new Map();
  /** @type {Set<Mailbox>} */
  #mailboxes = new Set();
  #isHolding = false;
  #queued = 0;
  /** @type {{ code: number | null, message: string } | null} */
  #end = null;
  /** @type {(end: { code: number | null, message: string }) => void} */
  #resolveEnded = () => {};
  /** @type {Set<() => void>} who waits for a condition; asked after each input */
  #waiters = new Set();
  #watching = new AbortController();
  #isAskingForToken = false;
  /** @type {string | null} */
  #token = null;
  /** @type {Promise<number> | null} */
  #measuring = null;
  #isLeft = false;
  /** @type {Promise<void>} leaving and coming back, one after the other */
  #moving = Promise.resolve();

  /**
   * @param {string} runId
   * @param {Options} [options]
   * @throws {ConfigError}
   */
  constructor(runId, options = {}) {
    super();
    this.runId = checkedRunId(runId);
    this.#options = options;
    this.#urls = urlsOf(options.url, this.runId);
    if (typeof options.token !== "function" && options.token !== undefined) checkedToken(options.token);
    this.#config = clientConfig({ ...options.config, refreshesToken: typeof options.token === "function" });
    this.#registry = new EventRegistry(options.types);
    this.#deliveriesMax = checkedDeliveriesMax(options.deliveriesMax ?? DELIVERIES_MAX);
    this.#network = new NetworkSwitch(transportsOf(options.transports));
    this.#clock = options.clock ?? new PageClock();
    this.#page = options.page === undefined ? ownPage() : options.page;
    this.#health = new HealthWatch(
      this.#clock,
      () => this.#healthNow(),
      (health) => this.#dispatch("healthchange", health),
    );
    /** Its value is always current; listeners are called at most ten times a second. */
    this.health = this.#health.signal;
    /** Resolves once when the session has ended, or was stopped. @type {Promise<{ code: number | null, message: string }>} */
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    if (options.signal?.aborted) this.close();
  }

  // ---- start and end ----

  /**
   * Read the stored identity, position and outbox, and begin to connect. Idempotent; after a rejection it may be called again.
   *
   * @returns {Promise<void>}
   */
  start() {
    this.#starting ??= this.#start().catch((error) => {
      this.#starting = null;
      throw error;
    });
    return this.#starting;
  }

  async #start() {
    this.#checkNotEnded();
    const { token } = this.#options;
    this.#token = typeof token === "function" ? checkedToken(await token()) : (this.#token ?? token ?? null);
    this.#checkNotEnded();
    this.#open(await this.#acquire());
    if (this.#page !== null) this.#watch(this.#page);
  }

  /**
   * A driver on a lease of its own: at the start, and when this page takes another identity.
   *
   * @param {Acquired} acquired
   */
  #open({ lease, stored, failures }) {
    if (this.#end !== null) {
      this.#letGo(lease);
      return;
    }
    this.#isHolding = false; // the session before may have held
    const { reconnect, fallback, keepalive } = this.#options;
    const parts = { config: this.#config, registry: this.#registry, token: this.#token, reconnect, fallback, keepalive };
    const clientId = stored?.identity.clientId ?? randomText(); // 2.2
    this.#driver = new SessionDriver(
      { clientId, parts: /** @type {any} */ (parts), lease, stored, failures },
      {
        clock: this.#clock,
        random: this.#options.random ?? Math.random,
        network: this.#network,
        urls: this.#urls,
        tell: (told) => this.#tell(told),
        turned: () => this.#turned(),
        refreshToken: () => this.#refreshToken(),
        storageFailed: (error) => this.#storageFailed(error),
        lost: () => this.#lost(),
      },
    );
    if (failures.length > 0) this.#failuresChanged();
    this.#driver.start();
    this.#publishEarly();
  }

  /** @returns {Promise<Acquired>} */
  async #acquire() {
    const { storage = "indexeddb" } = this.#options;
    const key = [this.#urls.http, this.#options.account ?? ""].join(" ");
    /** @type {Lease | null} */
    let lease = null;
    try {
      const chosen = storage === "memory" ? new MemoryStorage() : storage === "indexeddb" ? storageOfPage() : storage;
      lease = await inTime(this.#clock, chosen.acquire(key), (late) => late.release());
      const [stored, failures] = await inTime(this.#clock, Promise.all([lease.load(), lease.loadFailures()]));
      return { lease, stored, failures };
    } catch (error) {
      if (lease !== null) this.#letGo(lease); // for another page, which may have more luck
      this.#storageFailed(error);
      return { lease: await new MemoryStorage().acquire(), stored: null, failures: [] };
    }
  }

  /** @param {Lease} lease */
  #letGo(lease) {
    lease.release().catch((error) => this.#storageFailed(error));
  }

  /** Leave the run. Unsettled publishes fail with the code `closed`; while the page is left, it is `stop()`. */
  close() {
    if (this.#end !== null) return;
    if (this.#driver === null || this.#driver.isSuspended) this.#ended({ code: null, message: "closed by the application" });
    else this.#driver.leave();
  }

  /**
   * Leave the network and keep the stored outbox: the next client of this run takes it over.
   *
   * @returns {Promise<void>}
   */
  async stop() {
    if (this.#end !== null) return;
    const driver = this.#driver;
    this.#ended({ code: null, message: "stopped by the application" });
    await driver?.suspend();
    await driver?.isStored(); // or it has been told that it is not
    await this.#moving; // the page may be on its way back
  }

  /**
   * Resolves when a transport carries the session.
   *
   * @param {{ signal?: AbortSignal }} [how]
   * @returns {Promise<void>}
   */
  connected({ signal } = {}) {
    return new Promise((resolve, reject) => {
      const settled = new AbortController();
      const look = () => {
        const isConnected = this.#healthNow().status !== "Disconnected";
        if (!isConnected && this.#end === null) return;
        settled.abort();
        if (isConnected) resolve();
        else reject(new SessionClosed(`the session has ended before it was connected: ${this.#end?.message}`));
      };
      signal?.throwIfAborted();
      signal?.addEventListener("abort", () => (settled.abort(), reject(signal.reason)), { signal: settled.signal });
      settled.signal.addEventListener("abort", () => this.#waiters.delete(look));
      this.#waiters.add(look);
      look();
    });
  }

  // ---- publishing ----

  /**
   * Publish one event; resolves when it is durable at the server, however often the connection is lost on the way.
   *
   * An unhandled rejection is not reported as an uncaught error: `failed` is dispatched too.
   *
   * @param {string} eventType
   * @param {Data} data
   * @returns {Promise<Accepted>}
   */
  publish(eventType, data) {
    const accepted = new Promise((/** @type {(accepted: Accepted) => void} */ resolve, reject) => {
      this.#checkNotEnded();
      const publish = (/** @type {Data} */ payload) =>
        this.#openDriver().publish(eventType, payload, (ticket) => this.#tickets.set(ticket, { resolve, reject }));
      const isReady = this.#driver !== null && !this.#driver.isSuspended && this.#early.length === 0; // what was published before goes first
      if (isReady) publish(data);
      else this.#publishLater(this.#registry.checkPublish(eventType, data), publish, reject);
    });
    accepted.catch(() => {});
    return accepted;
  }

  /**
   * There is no session yet, or it is suspended while the page is left.
   *
   * @param {Data} data
   * @param {(data: Data) => void} publish
   * @param {(error: unknown) => void} fail
   */
  #publishLater(data, publish, fail) {
    if (this.#early.length >= this.#config.outboxMessagesMax) {
      throw new OutboxFull(`${this.#early.length} messages wait for the client to be started; call start() and await it`);
    }
    const run = () => {
      try {
        publish(data);
      } catch (error) {
        fail(error);
      }
    };
    this.#early.push({ run, fail });
    this.#turned();
  }

  #publishEarly() {
    for (let early = this.#early.shift(); early !== undefined; early = this.#early.shift()) early.run();
  }

  /**
   * Show this user's cursor to the others. Only the latest counts.
   *
   * @param {Data} data
   * @throws {import("../machine/errors.js").InvalidEvent | SessionClosed}
   */
  moveCursor(data) {
    this.#checkNotEnded();
    this.#openDriver().feed((session, now) => session.moveCursor(data, now));
  }

  /**
   * Set a new token (protocol 7.37).
   *
   * @param {string} token
   */
  setToken(token) {
    this.#checkNotEnded();
    const checked = checkedToken(token);
    this.#token = checked;
    this.#driver?.feed((session, now) => session.handleToken(checked, now));
  }

  // ---- events ----

  /** @returns {AsyncIterableIterator<Delivery>} */
  [Symbol.asyncIterator]() {
    return this.#mailbox();
  }

  /**
   * Events alone. After a long absence numbers are skipped without a notification; an application with a state of the run iterates the
   * client itself.
   *
   * @param {{ signal?: AbortSignal }} [how] aborting it ends the loop with the signal's reason
   * @returns {AsyncIterableIterator<RunEvent>}
   */
  events({ signal } = {}) {
    return eventsOf(this.#mailbox(signal));
  }

  /** @param {AbortSignal} [signal] */
  #mailbox(signal) {
    const mailbox = new Mailbox({
      onRead: () => this.#read(),
      onClose: (closed) => {
        this.#mailboxes.delete(closed);
        this.#read();
      },
      most: this.#deliveriesMax,
      signal,
    });
    if (this.#end === null) this.#mailboxes.add(mailbox);
    else mailbox.put({ kind: "end", ...this.#end });
    return mailbox;
  }

  #read() {
    if (!this.#isHolding || ![...this.#mailboxes].every((mailbox) => mailbox.isHalfEmpty)) return;
    this.#isHolding = false;
    if (this.#end === null) this.#driver?.feed((session, now) => session.releaseEvents(now)); // 7.19
  }

  // ---- properties ----

  /** Publishes that are not settled. */
  getQueuedMessageCount() {
    return this.#early.length + (this.#driver?.session.queuedMessages ?? 0);
  }

  /** Whether HTTP polling has taken over; it carries the session from its first answer on. */
  isUsingFallback() {
    return isPolling(this.state);
  }

  /** @returns {string | null} null before `start()` has read the storage */
  get clientId() {
    return this.#driver?.session.clientId ?? null;
  }

  /** @returns {ClientState} */
  get state() {
    return this.#end !== null ? "closed" : (this.#driver?.session.state ?? "new");
  }

  get transport() {
    return this.#driver?.session.transport ?? null;
  }

  /** Epoch and number of the last event received. Unread events count as received. */
  get position() {
    const { epoch, last } = this.#driver?.session.position ?? { epoch: null, last: 0 };
    return { epoch, sequenceNumber: last };
  }

  /** The present users, sorted. @returns {string[]} */
  get activeUsers() {
    return this.#driver?.session.activeUsers ?? [];
  }

  /** @returns {Map<string, Data>} by user */
  get cursors() {
    return this.#driver?.session.cursors ?? new Map();
  }

  /** The fold of all received events: a copy. */
  get runState() {
    return this.#driver?.runState ?? { grafts: {}, prunes: [], flags: [] };
  }

  /** Unsettled publishes, oldest first. */
  get pending() {
    return this.#driver?.session.pending ?? [];
  }

  /** Publishes that were given up, of earlier pages too, until they are dismissed; oldest first. @returns {Failure[]} */
  get failures() {
    return this.#driver?.failures ?? [];
  }

  /**
   * The user has seen these failures, or all: delete them.
   *
   * @param {readonly string[]} [ids]
   */
  dismissFailures(ids = this.failures.map(({ id }) => id)) {
    if (ids.length === 0) return;
    this.#driver?.dismissFailures(ids);
    this.#failuresChanged();
  }

  #failuresChanged() {
    this.#dispatch("failureschange", { failures: this.failures });
  }

  /** The server's limits, from its last welcome; null before the first. */
  get limits() {
    return this.#driver?.session.limits ?? null;
  }

  // ---- requests ----

  /**
   * One round trip now, in ms.
   *
   * @returns {Promise<number>}
   * @throws {NotConnectedError}
   */
  measureLatency() {
    this.#measuring ??= this.#measure().finally(() => {
      this.#measuring = null;
    });
    return this.#measuring;
  }

  async #measure() {
    if (this.#end === null && this.#driver?.session.transport === "websocket") {
      const ms = await this.#driver.measure();
      if (ms !== null) return ms;
    } else if (this.#end === null && this.isUsingFallback()) {
      const began = this.#clock.monotonicMs();
      const late = new AbortController();
      const timer = this.#clock.setTimer(PONG_MS_MAX, () => late.abort(new Error(`not within ${PONG_MS_MAX / 1000} s`)));
      const how = /** @type {const} */ ({ cache: "no-store", credentials: "omit", signal: late.signal });
      try {
        await this.#network.fetch(`${this.#urls.base}/healthz`, how, (response) => response.text());
        return this.#clock.monotonicMs() - began;
      } catch (error) {
        throw new NotConnectedError(`the server does not answer: ${textOf(error)}`);
      } finally {
        this.#clock.clearTimer(timer);
      }
    }
    throw new NotConnectedError("nothing carries the session now, so there is no round trip to measure; await connected() first");
  }

  /**
   * The events that the server still keeps: all from a number on; without one, the critical events.
   *
   * @param {string} [runId]
   * @param {{ fromSequence?: number | null, signal?: AbortSignal }} [what]
   * @returns {Promise<RunEvent[]>}
   * @throws {import("./rest.js").RequestFailedError}
   */
  async replayMissedMessages(runId = this.runId, { fromSequence = null, signal } = {}) {
    const url = urlsOf(this.#options.url, checkedRunId(runId)).http;
    const { token } = this.#options;
    if (this.#token === null && typeof token === "function") this.#token = checkedToken(await token());
    const caller = { network: this.#network, clock: this.#clock };
    return replay(caller, url, this.#token ?? (typeof token === "string" ? token : null), { fromSequence, signal });
  }

  // ---- the page's own network ----

  get isNetworkCut() {
    return this.#network.isCut;
  }

  /** Close all connections by force, and let none open until `restoreNetwork`. */
  cutNetwork() {
    if (this.#network.isCut) return;
    this.#network.cut();
    this.#health.soon();
  }

  restoreNetwork() {
    if (!this.#network.isCut) return;
    this.#network.restore();
    this.#networkReturned();
  }

  #networkReturned() {
    if (this.#end === null && !this.#isLeft) this.#driver?.feed((session, now) => session.networkReturned(now));
    this.#health.soon();
  }

  // ---- the page's lifecycle ----

  /** @param {import("./lifecycle.js").Page} page */
  #watch(page) {
    const isLoopback = LOOPBACK.test(new URL(this.#urls.http).hostname); // reachable without any network
    const hidden = (/** @type {boolean} */ isHidden) => {
      if (this.#clock instanceof PageClock) this.#clock.hide(isHidden);
      this.#driver?.wake();
    };
    watchPage(
      page,
      {
        hidden,
        left: () => this.#move(true),
        shown: () => this.#move(false),
        offline: () => {
          if (!isLoopback) this.#network.severAll("the browser is offline");
          this.#health.soon();
        },
        online: () => this.#networkReturned(),
      },
      this.#watching.signal,
    );
    if (page.document.visibilityState === "hidden") hidden(true); // it was opened in the background
  }

  /** @param {boolean} leaves the page, or comes back to it */
  #move(leaves) {
    this.#isLeft = leaves;
    if (leaves)
      void this.#driver?.suspend().catch(() => {}); // at once: the page may not live to do it later
    else this.#moving = this.#moving.then(() => this.#comeBack()).catch(reportLater);
  }

  async #comeBack() {
    const driver = this.#driver; // read now: an earlier return may have replaced it
    if (driver === null || this.#end !== null || this.#isLeft) return;
    if (await driver.resume()) this.#publishEarly();
    else await this.#beginAnew(driver);
    if (this.#isLeft || this.#end !== null) await this.#driver?.suspend(); // left again meanwhile, or stopped
  }

  /** The storage has failed, and what it holds cannot be deleted. */
  #lost() {
    this.#moving = this.#moving
      .then(async () => {
        const driver = this.#driver;
        if (driver === null || !driver.isLost || this.#isLeft) return; // a page that was left does it when it comes back
        await this.#beginAnew(driver);
        if (this.#isLeft || this.#end !== null) await this.#driver?.suspend();
      })
      .catch(reportLater);
  }

  /**
   * Our identity was taken by another tab, or the storage does not give it back, or has failed: go on with another one. What is stored
   * is sent by the next owner of the old identity, what was never sent nor stored by the new one.
   *
   * @param {SessionDriver} driver
   */
  async #beginAnew(driver) {
    void driver.suspend();
    await driver.isStored();
    const acquired = driver.isLost ? null : await this.#acquire();
    const lease = acquired?.lease ?? (await new MemoryStorage().acquire());
    if (this.#end !== null) return this.#letGo(lease);
    const left = this.#leaveBehind(driver);
    this.#open({ ...(acquired ?? driver.carriedOver), lease });
    this.#driver?.keepFailures(left);
  }

  /**
   * Returns the failures that this makes.
   *
   * @param {SessionDriver} driver
   */
  #leaveBehind(driver) {
    const { moved, unsent, unknown, failures } = driver.leaveBehind();
    const message = "this page has lost its queue; another tab, or the next page of this run, sends it";
    for (const ticket of moved) {
      this.#settled(ticket)?.reject(new PublishFailedError({ ticket, code: "moved", message, mayHaveArrived: true }));
    }
    this.#early.unshift(...unsent.map((publish) => this.#again(publish)));
    for (const failed of unknown) this.#publishFailed(failed);
    return failures;
  }

  /** @param {{ ticket: number, eventType: string, data: Data }} publish */
  #again({ ticket, eventType, data }) {
    const waiting = this.#settled(ticket);
    const note = (/** @type {number} */ fresh) => void (waiting && this.#tickets.set(fresh, waiting));
    return {
      run: () => this.#openDriver().publish(eventType, data, note),
      fail: (/** @type {any} */ error) => waiting?.reject(error),
    };
  }

  // ---- tokens ----

  #refreshToken() {
    const { token } = this.#options;
    if (typeof token !== "function" || this.#isAskingForToken) return;
    this.#isAskingForToken = true;
    const ask = async () => {
      try {
        const fresh = checkedToken(await token());
        this.#isAskingForToken = false;
        if (this.#end === null) this.setToken(fresh);
      } catch (error) {
        // The machine ends the session when it waits too long (7.40); until then the function is called again.
        this.dispatchEvent(new CustomEvent("tokenerror", { detail: { error } }));
        if (this.#end === null) this.#clock.setTimer(TOKEN_RETRY_MS, () => void ask());
      }
    };
    void ask();
  }

  // ---- outcomes ----

  /** @param {import("./driver.js").Told} told */
  #tell(told) {
    switch (told.kind) {
      case "event":
        this.#deliver(told, "event", told.event);
        break;
      case "stored": {
        const { epoch, sequenceNumber, state } = told;
        this.#deliver({ kind: "snapshot", epoch, sequenceNumber, state, reason: "stored" }, "snapshot");
        break;
      }
      case "snapshot":
      case "reset":
        this.#deliver(told, told.kind);
        break;
      case "accepted": {
        const { kind: _, ...accepted } = told;
        this.#settled(told.ticket)?.resolve(accepted);
        this.#dispatch("accepted", accepted);
        break;
      }
      case "failed": {
        const { kind: _, ...failed } = told;
        this.#publishFailed(failed);
        break;
      }
      case "state":
        this.#dispatch("statechange", { state: told.state, isCarried: told.isCarried });
        break;
      case "notConnected":
        this.#dispatch("notconnected", { code: told.code, reason: told.reason });
        break;
      case "end":
        this.#ended({ code: told.code, message: told.message });
        break;
      default:
        throw new Error(`a bug in the client: nobody is told of ${/** @type {never} */ (told)}`);
    }
  }

  /**
   * @param {Delivery} delivery
   * @param {string} type
   * @param {unknown} [detail] default: the delivery without its kind
   */
  #deliver(delivery, type, detail) {
    const { kind: _, ...rest } = delivery;
    for (const mailbox of [...this.#mailboxes]) mailbox.put(delivery);
    this.#dispatch(type, detail ?? rest);
    if (!this.#isHolding && [...this.#mailboxes].some((mailbox) => mailbox.isFull)) {
      this.#isHolding = true;
      this.#driver?.session.holdEvents(); // 7.19; it leaves nothing to carry out
    }
  }

  /** @param {import("./driver.js").Failed} failed */
  #publishFailed(failed) {
    this.#settled(failed.ticket)?.reject(new PublishFailedError(failed));
    this.#dispatch("failed", failed);
    this.#failuresChanged();
  }

  /** @param {number} ticket */
  #settled(ticket) {
    const waiting = this.#tickets.get(ticket);
    this.#tickets.delete(ticket);
    return waiting;
  }

  /** @param {{ code: number | null, message: string }} end */
  #ended(end) {
    if (this.#end !== null) return;
    this.#end = end;
    this.#watching.abort();
    for (const { fail } of this.#early.splice(0)) fail(new SessionClosed(end.message));
    for (const [ticket, { reject }] of this.#tickets) {
      reject(
        new PublishFailedError({
          ticket,
          code: "stopped",
          message: "the client was stopped; the next one sends the stored publishes",
          mayHaveArrived: true,
        }),
      );
    }
    this.#tickets.clear();
    for (const mailbox of [...this.#mailboxes]) mailbox.put({ kind: "end", ...end });
    this.#dispatch("end", end);
    this.#turned();
    this.#resolveEnded(end);
    // An identity that the server has refused would be refused after a reload as well (2.3).
    if (this.#driver?.session.state === "closed") void this.#driver.finish({ forgets: end.code !== null }).catch(() => {});
  }

  /** @param {unknown} error */
  #storageFailed(error) {
    this.#dispatch("storageerror", { message: textOf(error) });
  }

  #turned() {
    const queued = this.getQueuedMessageCount();
    if (queued !== this.#queued) {
      this.#queued = queued;
      this.#dispatch("queuechange", { queued });
    }
    for (const look of [...this.#waiters]) look();
    this.#health.soon();
  }

  /**
   * @param {string} type
   * @param {unknown} detail
   */
  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail })); // a listener's error is reported as uncaught and does not stop this code
  }

  /** @returns {Health} */
  #healthNow() {
    return healthOf({
      driver: this.#driver,
      state: this.state,
      queuedMessages: this.getQueuedMessageCount(),
      isOffline: this.#page !== null && !this.#page.navigator.onLine,
      isNetworkCut: this.#network.isCut,
      end: this.#end,
    });
  }

  #openDriver() {
    if (this.#driver === null) throw new LocalError("start the client first, and await start()");
    return this.#driver;
  }

  #checkNotEnded() {
    if (this.#end !== null) throw new SessionClosed(`the session has ended: ${this.#end.message}; make a new client`);
  }
}

/**
 * Create a run. If it exists, nothing changes. A server that does not answer within CREATE_RUN_MS_MAX is not waited for.
 *
 * @param {string} runId
 * @param {Pick<Options, "url" | "transports" | "clock"> & { token?: string, signal?: AbortSignal }} [options]
 * @returns {Promise<boolean>} whether it is new
 * @throws {import("./rest.js").RequestFailedError}
 */
export async function createRun(runId, { url, token, signal, transports, clock = new PageClock() } = {}) {
  const { run } = urlsOf(url, checkedRunId(runId));
  const caller = { network: new NetworkSwitch(transportsOf(transports)), clock };
  const headers = { ...headersOf(token === undefined ? null : checkedToken(token)), "Content-Type": "application/json" };
  const { status } = await call(caller, run, { method: "PUT", headers, body: "{}", signal }, CREATE_RUN_MS_MAX);
  return status === 201;
}
