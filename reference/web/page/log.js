// @ts-check
/**
 * The log of a run, as this page was given it: events in order, what stands between them, and below it what waits to be sent.
 *
 * Rows are appended as they come, never corrected: an event that came twice would stand here twice.
 */

import { aboutOf, textOf } from "./board.js";
import { byId, counted, make, reconcile, write } from "./dom.js";

/**
 * @typedef {object} LogEvent
 * @property {string} eventType
 * @property {string} userId
 * @property {number} timestamp
 * @property {number | null} sequenceNumber
 * @property {Record<string, unknown>} data
 *
 * @typedef {{ticket: unknown, eventType: string, data: Record<string, unknown>, state: string}} Pending
 */

const ROWS_MAX = 500;
const PENDING_SHOWN_MAX = 100;
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Draws into the page's log. */
export class Log {
  #list = byId("log");
  #scroll = byId("log-scroll");
  #events = 0;

  /** Forget all rows. */
  clear() {
    this.#list.replaceChildren();
    this.#events = 0;
    this.#count();
  }

  /**
   * An event that was delivered now.
   * @param {LogEvent} event
   */
  append(event) {
    this.#keepingPlace(() => {
      this.#list.append(rowOf(event, "fresh"));
      this.#events += 1;
      while (this.#list.childElementCount > ROWS_MAX) this.#list.firstElementChild?.remove();
    });
    this.#count();
  }

  /**
   * Events from before this page joined, in order; they go above everything else.
   * @param {readonly LogEvent[]} events
   */
  prepend(events) {
    const room = ROWS_MAX - this.#list.childElementCount;
    const shown = room > 0 ? events.slice(-room) : [];
    this.#keepingPlace(() => this.#list.prepend(...shown.map((event) => rowOf(event, ""))));
    this.#events += shown.length;
    this.#count();
  }

  /**
   * Something that happened to the history itself.
   * @param {string} text
   */
  divide(text) {
    this.#keepingPlace(() => this.#list.append(make("li", { class: "divider" }, text)));
  }

  /** @param {readonly Pending[]} pending */
  drawPending(pending) {
    byId("pending-box").hidden = pending.length === 0;
    if (pending.length === 0) return byId("pending").replaceChildren();
    const more = pending.length - PENDING_SHOWN_MAX;
    write(byId("pending-title"), `Waiting for the server: ${counted(pending.length, "event")}${more > 0 ? `, the first ${PENDING_SHOWN_MAX} are shown` : ""}`);
    const shown = new Map(pending.slice(0, PENDING_SHOWN_MAX).map((one) => [String(one.ticket), one]));
    this.#keepingPlace(() =>
      reconcile(
        byId("pending"),
        [...shown.keys()],
        (key) => pendingRow(/** @type {Pending} */ (shown.get(key))),
        (node, key) => {
          const state = shown.get(key)?.state === "queued" ? "queued" : "sent";
          if (node.lastElementChild) write(node.lastElementChild, state);
        },
      ),
    );
  }

  #count() {
    byId("log-empty").hidden = this.#list.childElementCount > 0;
    const rows = this.#list.childElementCount;
    write(byId("log-count"), this.#events > rows ? `the last ${rows} of ${counted(this.#events, "event")}` : counted(this.#events, "event"));
  }

  /**
   * Stay at the end if the reader is there, and where they are if not.
   * @param {() => void} change
   */
  #keepingPlace(change) {
    const box = this.#scroll;
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    change();
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  }
}

/**
 * @param {LogEvent} event
 * @param {string} className
 * @returns {HTMLElement}
 */
function rowOf(event, className) {
  const number = String(event.sequenceNumber ?? "");
  const row = make(
    "li",
    { "data-number": number, "data-type": event.eventType, "data-text": textOf(event.data), class: className },
    make("span", { class: "number" }, number),
    make("span", { class: `kind ${/^[A-Z]+$/.test(event.eventType) ? event.eventType : ""}` }, event.eventType),
    saidOf(event.data, event.userId),
    make("time", { class: "when", datetime: new Date(event.timestamp).toISOString() }, TIME.format(event.timestamp)),
  );
  return row;
}

/**
 * @param {Pending} pending
 * @returns {HTMLElement}
 */
function pendingRow(pending) {
  return make(
    "li",
    {},
    make("span", { class: "number", "aria-hidden": "true" }, "\u2026"),
    make("span", { class: "kind" }, pending.eventType),
    saidOf(pending.data, ""),
    make("span", { class: "when" }, "queued"),
  );
}

/**
 * @param {Record<string, unknown>} data
 * @param {string} user
 * @returns {HTMLElement}
 */
function saidOf(data, user) {
  const about = aboutOf(data);
  const text = textOf(data);
  const said = make("span", { class: "said" });
  if (about) said.append(make("b", {}, about), " ");
  if (text) said.append(text, " ");
  if (user) said.append(make("span", { class: "soft small" }, `by ${user}`));
  return said;
}
