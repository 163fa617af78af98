// @ts-check
/** One run on the page: a client, and everything that is drawn of it. */

import { ConnectionStore, RunClient } from "../index.js";
import { Board } from "./board.js";
import { byId, paced, write } from "./dom.js";
import { FailureList } from "./failures.js";
import { Log } from "./log.js";
import { Notices } from "./notices.js";
import { drawPeople } from "./people.js";

/**
 * @typedef {import("./account.js").Account} Account
 * @typedef {import("../component/connection_health.js").ConnectionHealth} ConnectionHealth
 * @typedef {import("./log.js").LogEvent} LogEvent
 */

/**
 * Settings of the client for this tab alone (protocol 9.2, in camel case), for trying them out:
 * `sessionStorage.setItem("steadywire.config", '{"pingIntervalS": 1}')`.
 * @returns {Record<string, number | string | boolean>}
 */
function tabConfig() {
  try {
    const config = JSON.parse(sessionStorage.getItem("steadywire.config") ?? "{}");
    return typeof config === "object" && config !== null && !Array.isArray(config) ? config : {};
  } catch {
    return {};
  }
}

/** Draws the run that it has entered; one per page. */
export class Room {
  #health = /** @type {ConnectionHealth} */ (byId("health"));
  #log = new Log();
  #notices = new Notices();
  #failures = new FailureList(() => this.#client?.dismissFailures());
  #board;
  /** @type {RunClient | null} */
  #client = null;
  /** @type {ConnectionStore | null} */
  #store = null;
  /** @type {(() => void)[]} What ends with the run. */
  #leaving = [];
  #me = "";
  /** Counts the histories that the log has shown: what was fetched for one does not belong into the next. */
  #history = 0;
  #draw = paced(() => this.#drawRun());

  constructor() {
    this.#board = new Board((step) => this.#look(step));
    byId("composer", HTMLFormElement).addEventListener("submit", (event) => this.#compose(event));
    byId("cut").addEventListener("click", () => this.#cutOrRestore());
  }

  /** The client of the run that is shown; null in the lobby. */
  get client() {
    return this.#client;
  }

  /**
   * @param {string} runId
   * @param {Account} account
   * @param {() => string | Promise<string>} token Asked for the first token and for every later one.
   */
  enter(runId, account, token) {
    this.leave();
    this.#history += 1;
    this.#me = account.user;
    this.#log.clear();
    byId("ended").hidden = true;
    this.#failures.draw([]);
    const client = (this.#client = new RunClient(runId, { token, account: account.user, config: tabConfig() }));
    const store = (this.#store = new ConnectionStore(client));
    this.#leaving = [
      store.connectionHealth.subscribe((health) => {
        if (health !== null) this.#health.health = health;
        this.#drawCut();
      }),
      store.queuedMessageCount.subscribe(() => this.#draw()),
    ];
    client.addEventListener("event", (event) => this.#received(/** @type {CustomEvent<LogEvent>} */ (event).detail));
    client.addEventListener("snapshot", (event) => this.#snapshot(/** @type {CustomEvent} */ (event).detail));
    client.addEventListener("reset", (event) => this.#reset(/** @type {CustomEvent} */ (event).detail));
    client.addEventListener("failureschange", () => client === this.#client && this.#failures.draw(client.failures));
    client.addEventListener("storageerror", (event) => client === this.#client && this.#unkept(/** @type {CustomEvent} */ (event).detail));
    client.addEventListener("end", (event) => this.#ended(client, /** @type {CustomEvent} */ (event).detail));
    client.start().catch((error) => this.#complain(`This page could not start: ${error.message}`));
    this.#draw();
  }

  /** Leave the run. What still waits to be sent stays in this browser, and is sent when this user is back in this run. */
  leave() {
    for (const stop of this.#leaving.splice(0)) stop();
    this.#store?.detach();
    this.#store = null;
    const client = this.#client;
    this.#client = null;
    if (client !== null && client.getQueuedMessageCount() > 0) void client.stop();
    else client?.close();
    this.#notices.clear();
  }

  // What the client says.

  /** @param {LogEvent} event */
  #received(event) {
    if (event.sequenceNumber !== null) this.#log.append(event);
    if (event.userId !== this.#me && event.eventType !== "CURSOR_MOVE") this.#notices.told(event);
    this.#draw();
  }

  /** @param {{sequenceNumber: number, reason: string | null}} snapshot */
  #snapshot({ sequenceNumber, reason }) {
    if (reason === "expired") {
      this.#log.divide(`You were away for long: the events up to ${sequenceNumber} are summed up in the steps`);
    } else if (sequenceNumber > 0) {
      void this.#fetchEarlier(sequenceNumber);
    }
    this.#draw();
  }

  /** @param {{sequenceNumber: number}} reset */
  #reset({ sequenceNumber }) {
    this.#history += 1;
    this.#log.clear();
    this.#log.divide(`The history of this run was lost; it goes on at ${sequenceNumber}`);
    this.#notices.say("The history of this run was lost. What you see is what the server has now.");
    this.#draw();
  }

  /**
   * What happened before this page joined, as far as the server keeps it. The steps are complete without it.
   * @param {number} upTo
   */
  async #fetchEarlier(upTo) {
    const client = this.#client;
    const history = this.#history;
    if (client === null) return;
    try {
      await client.connected();
      const events = await client.replayMissedMessages(undefined, { fromSequence: Math.max(1, upTo - 199) });
      if (history !== this.#history) return;
      this.#log.prepend(events.filter((event) => (event.sequenceNumber ?? Infinity) <= upTo));
    } catch {
      if (history === this.#history) this.#log.divide(`Events before ${upTo + 1} could not be loaded`);
    }
  }

  /**
   * @param {RunClient} client
   * @param {{code: number | null, message: string}} end
   */
  #ended(client, { code, message }) {
    if (client !== this.#client || code === null) return;
    write(byId("ended-text"), `This session has ended: ${message} (code ${code}).`);
    byId("ended").hidden = false;
    this.#draw();
  }

  // What the user does.

  /** @param {string} step */
  #look(step) {
    try {
      this.#client?.moveCursor({ position: step.slice(0, 256) });
    } catch {
      // The session has ended; the page says so already.
    }
  }

  /** @param {SubmitEvent} event */
  #compose(event) {
    event.preventDefault();
    const client = this.#client;
    const step = this.#board.step;
    if (client === null) return;
    if (!step) {
      this.#complain("Choose a step, or type the name of a new one.");
      byId("step-input").focus();
      return;
    }
    const text = byId("text-input", HTMLInputElement);
    const kind = event.submitter instanceof HTMLButtonElement ? event.submitter.value : "GRAFT";
    const said = text.value.trim();
    const words = said === "" ? {} : kind === "GRAFT" ? { text: said } : { note: said };
    const data = kind === "PRUNE" ? { step } : { position: step, ...words };
    this.#complain("");
    client.publish(kind, data).catch((error) => {
      // What was queued and is given up stands in the list of failures; what was never queued is told here alone.
      if (error.name !== "PublishFailedError") this.#complain(error.message);
    });
    if (kind !== "PRUNE") text.value = "";
    this.#draw();
  }

  /** @param {{message: string}} why */
  #unkept({ message }) {
    this.#complain(`Nothing more is kept in this browser: ${message}. Leave this page open until everything is sent.`);
  }

  #cutOrRestore() {
    const client = this.#client;
    if (client === null) return;
    if (client.isNetworkCut) client.restoreNetwork();
    else client.cutNetwork();
    this.#drawCut();
  }

  // What is drawn.

  #drawCut() {
    const isCut = this.#client?.isNetworkCut ?? false;
    write(byId("cut"), isCut ? "Restore my network" : "Cut my network");
    byId("cut").classList.toggle("cut", isCut);
  }

  #drawRun() {
    const client = this.#client;
    if (client === null) return;
    drawPeople(client.activeUsers, client.cursors, this.#me);
    this.#board.draw(client.runState, client.cursors, this.#me);
    this.#log.drawPending(client.pending);
  }

  /** @param {string} text */
  #complain(text) {
    write(byId("composer-error"), text);
  }
}
