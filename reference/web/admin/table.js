// @ts-check
/** The table of sessions: sorted by any column, searched, in pages; rows stay in place while they are updated. */

import { formatMs, formatShare } from "../component/connection_health.js";
import { byId, counted, make, reconcile, write } from "../page/dom.js";
import { QUALITY_WORDS } from "./charts.js";

/**
 * @typedef {import("./api.js").Session} Session
 *
 * @typedef {object} Column
 * @property {string} name
 * @property {(session: Session) => string | number} key What it is sorted by.
 * @property {(session: Session, nowMs: number) => string} text
 * @property {string} [className]
 * @property {boolean} [isNumber]
 */

const PAGE_ROWS = 50;

/**
 * @param {number | null} value
 * @returns {number}
 */
const orLast = (value) => value ?? Number.POSITIVE_INFINITY;

/** @type {readonly Column[]} */
const COLUMNS = [
  { name: "User", key: (one) => one.userId, text: (one) => one.userId, className: "id" },
  { name: "Status", key: (one) => one.status, text: (one) => one.status, className: "badge" },
  { name: "Quality", key: (one) => orLast(one.qualityScore), text: (one) => qualityText(one), className: "quality" },
  { name: "p50", key: (one) => orLast(one.roundTrip.p50Ms), text: (one) => formatMs(one.roundTrip.p50Ms), isNumber: true },
  { name: "p95", key: (one) => orLast(one.roundTrip.p95Ms), text: (one) => formatMs(one.roundTrip.p95Ms), isNumber: true },
  { name: "Delivery", key: (one) => orLast(one.deliveryRate), text: (one) => formatShare(one.deliveryRate), isNumber: true },
  { name: "Queued", key: (one) => one.queuedMessages, text: (one) => String(one.queuedMessages), isNumber: true },
  { name: "Reconnections", key: (one) => one.reconnections, text: (one) => String(one.reconnections), isNumber: true },
  { name: "Fallbacks", key: (one) => one.fallbacks, text: (one) => String(one.fallbacks), isNumber: true },
  { name: "Last active", key: (one) => -one.lastActivityAt, text: (one, now) => agoText(now - one.lastActivityAt), isNumber: true },
  { name: "Run", key: (one) => one.runId, text: (one) => one.runId.slice(0, 8), className: "id mono" },
  { name: "Session", key: (one) => one.sessionId, text: (one) => one.sessionId.slice(0, 8), className: "id mono" },
];

/** Draws sessions into the page's table. */
export class SessionTable {
  #table = byId("sessions", HTMLTableElement);
  #body = /** @type {HTMLElement} */ (this.#table.tBodies[0]);
  #search = byId("search", HTMLInputElement);
  /** @type {readonly Session[]} */
  #sessions = [];
  #total = 0;
  #column = 0;
  #isAscending = true;
  #page = 0;
  /** @type {Map<string, Session>} The rows that are shown. */
  #rows = new Map();
  /** @type {(session: () => Session | undefined, user: string) => HTMLElement} */
  #actionsOf;

  /** @param {(session: () => Session | undefined, user: string) => HTMLElement} actionsOf The buttons of a row, for its session as of now. */
  constructor(actionsOf) {
    this.#actionsOf = actionsOf;
    const heads = COLUMNS.map((column, index) => {
      const button = make("button", { type: "button" }, column.name, make("span", { class: "arrow", "aria-hidden": "true" }));
      button.addEventListener("click", () => this.#sortBy(index));
      return make("th", { scope: "col", class: column.isNumber ? "number" : "" }, button);
    });
    this.#table.tHead?.rows[0]?.append(...heads, make("th", { scope: "col" }, make("span", { class: "visually-hidden" }, "Actions")));
    this.#search.addEventListener("input", () => this.#turnTo(0));
    byId("previous").addEventListener("click", () => this.#turnTo(this.#page - 1));
    byId("next").addEventListener("click", () => this.#turnTo(this.#page + 1));
    this.#markSorting();
  }

  /**
   * @param {readonly Session[]} sessions
   * @param {number} total How many there are; more than `sessions` if not all were fetched.
   */
  show(sessions, total) {
    this.#sessions = sessions;
    this.#total = total;
    this.#draw();
  }

  /** @param {number} index */
  #sortBy(index) {
    this.#isAscending = this.#column === index ? !this.#isAscending : true;
    this.#column = index;
    this.#markSorting();
    this.#turnTo(0);
  }

  /** @param {number} page */
  #turnTo(page) {
    this.#page = page;
    this.#draw();
  }

  #markSorting() {
    const heads = this.#table.tHead?.rows[0]?.cells ?? [];
    for (const [index, head] of [...heads].entries()) {
      const isSorted = index === this.#column;
      if (isSorted) head.setAttribute("aria-sort", this.#isAscending ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
      const arrow = head.querySelector(".arrow");
      if (arrow) write(arrow, isSorted ? (this.#isAscending ? "\u2191" : "\u2193") : "");
    }
  }

  #draw() {
    const words = this.#search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#sessions.filter((one) => {
      const text = `${one.userId} ${one.runId} ${one.sessionId} ${one.clientId} ${one.status} ${one.quality} ${one.transport}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const { key } = /** @type {Column} */ (COLUMNS[this.#column]);
    const sign = this.#isAscending ? 1 : -1;
    found.sort((a, b) => sign * compare(key(a), key(b)) || compare(a.userId, b.userId) || compare(rowKey(a), rowKey(b)));
    const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
    this.#page = Math.min(Math.max(this.#page, 0), pages - 1);
    const rows = (this.#rows = new Map(found.slice(this.#page * PAGE_ROWS, (this.#page + 1) * PAGE_ROWS).map((one) => [rowKey(one), one])));
    const now = Date.now();
    reconcile(
      this.#body,
      [...rows.keys()],
      (rowId) => this.#newRow(/** @type {Session} */ (rows.get(rowId))),
      (row, rowId) => fill(row, /** @type {Session} */ (rows.get(rowId)), now),
    );
    const missing = this.#total > this.#sessions.length ? `, of ${counted(this.#total, "session")} on this server` : "";
    write(byId("sessions-count"), `${words.length ? `${found.length} of ` : ""}${counted(this.#sessions.length, "session")}${missing}`);
    write(byId("page-of"), `Page ${this.#page + 1} of ${pages}`);
    byId("previous", HTMLButtonElement).disabled = this.#page === 0;
    byId("next", HTMLButtonElement).disabled = this.#page === pages - 1;
  }

  /** @param {Session} session */
  #newRow(session) {
    const cells = COLUMNS.map((column) => {
      const text = make("span", { class: column.className ?? "" });
      return make("td", { class: column.isNumber ? "number" : "" }, text);
    });
    return make("tr", {}, ...cells, make("td", {}, this.#actionsOf(() => this.#rows.get(rowKey(session)), session.userId)));
  }
}

/**
 * @param {HTMLElement} row
 * @param {Session} session
 * @param {number} nowMs
 */
function fill(row, session, nowMs) {
  row.className = session.isConnected ? "" : "gone";
  COLUMNS.forEach((column, index) => {
    const span = row.children[index]?.firstElementChild;
    if (!(span instanceof HTMLElement)) return;
    const text = column.text(session, nowMs);
    write(span, text);
    if (column.className?.startsWith("id")) span.title = String(column.key(session));
    if (column.className === "badge") span.className = `badge ${session.status.split(" ")[0] ?? ""}`;
    if (column.className === "quality") span.className = `quality ${session.quality}`;
  });
  for (const button of row.querySelectorAll("button[data-needs-connection]")) {
    if (button instanceof HTMLButtonElement) button.disabled = !session.isConnected;
  }
}

/** @param {Session} session */
function qualityText(session) {
  const word = session.quality === "UNKNOWN" ? "\u2013" : (QUALITY_WORDS[session.quality] ?? session.quality);
  return session.qualityScore === null ? word : `${word} ${Math.round(session.qualityScore)}`;
}

/**
 * @param {number} ms
 * @returns {string}
 */
function agoText(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

/** @param {Session} session */
export function rowKey(session) {
  return `${session.runId} ${session.clientId}`;
}

/**
 * @param {string | number} a
 * @param {string | number} b
 */
function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}
