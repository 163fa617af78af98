// @ts-check
/**
 * The steps of a run: the fold of its critical events (protocol 1.7), and the cursors of whoever looks at a step.
 *
 * Steps that nobody has touched yet are offered too, so that an empty run has something to begin with.
 */

import { byId, counted, make, reconcile, write } from "./dom.js";
import { colourOf, stepOf } from "./people.js";

/**
 * @typedef {Record<string, unknown>} Data
 * @typedef {{grafts: Record<string, Data>, prunes: readonly string[], flags: readonly Data[]}} RunState
 */

const STEPS_OFFERED = 8;
const STEPS_SHOWN_MAX = 300;
const CURSORS_SHOWN_MAX = 4;

/**
 * The step that an event or a flag is about.
 * @param {Data} data
 * @returns {string}
 */
export function aboutOf(data) {
  const about = data.position ?? data.step;
  return typeof about === "string" ? about : "";
}

/**
 * What an event says, for people.
 * @param {Data} data
 * @returns {string}
 */
export function textOf(data) {
  for (const name of ["text", "note", "reason", "agent"]) {
    const value = data[name];
    if (typeof value === "string" && value) return value;
  }
  const rest = Object.entries(data).filter(([name, value]) => value !== "" && !["position", "step", "publishId"].includes(name));
  return rest.length ? JSON.stringify(Object.fromEntries(rest)).slice(0, 500) : "";
}

/** Draws the steps, and says which one is chosen. */
export class Board {
  #steps = byId("steps");
  #input = byId("step-input", HTMLInputElement);
  /** @type {(step: string) => void} */
  #look;

  /** @param {(step: string) => void} look Called with a step that this user looks at. */
  constructor(look) {
    this.#look = look;
    this.#steps.addEventListener("click", (event) => this.#choose(event));
    this.#steps.addEventListener("pointerover", (event) => this.#lookAt(event));
    this.#steps.addEventListener("focusin", (event) => this.#lookAt(event));
    this.#input.addEventListener("input", () => this.#mark());
  }

  /** The chosen step; empty if there is none. */
  get step() {
    return this.#input.value.trim();
  }

  /**
   * @param {RunState} state
   * @param {ReadonlyMap<string, Data>} cursors
   * @param {string} me
   */
  draw(state, cursors, me) {
    const pruned = new Set(state.prunes);
    /** @type {Map<string, number>} */
    const flags = new Map();
    for (const flag of state.flags) flags.set(aboutOf(flag), (flags.get(aboutOf(flag)) ?? 0) + 1);
    /** @type {Map<string, string[]>} */
    const visitors = new Map();
    for (const [user, cursor] of cursors) {
      const step = stepOf(cursor);
      if (step === null || user === me) continue;
      visitors.set(step, [...(visitors.get(step) ?? []), user]);
    }
    const offered = Array.from({ length: STEPS_OFFERED }, (_, index) => `step-${index + 1}`);
    const known = new Set([...offered, ...Object.keys(state.grafts), ...pruned, ...flags.keys(), ...visitors.keys()]);
    known.delete("");
    const all = [...known].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const shown = all.slice(0, STEPS_SHOWN_MAX);
    const summary = [
      counted(Object.keys(state.grafts).length, "graft"),
      `${pruned.size} pruned`,
      counted(state.flags.length, "flag"),
      ...(all.length > shown.length ? [`${shown.length} of ${all.length} steps shown`] : []),
    ];
    write(byId("board-count"), summary.join(", "));
    reconcile(this.#steps, shown, newRow, (node, step) => {
      const row = /** @type {HTMLElement} */ (node.firstElementChild);
      const graft = state.grafts[step];
      row.className = `step${graft ? " grafted" : ""}${pruned.has(step) ? " pruned" : ""}`;
      row.setAttribute("aria-pressed", String(step === this.step));
      const [, text, marks] = row.children;
      if (text) write(text, graft ? textOf(graft) || "grafted" : pruned.has(step) ? "pruned" : "\u2013");
      if (marks instanceof HTMLElement) drawMarks(marks, flags.get(step) ?? 0, pruned.has(step), visitors.get(step) ?? []);
    });
  }

  #mark() {
    for (const row of this.#steps.querySelectorAll(".step")) {
      row.setAttribute("aria-pressed", String(row.parentElement?.dataset.key === this.step));
    }
    if (this.step) this.#look(this.step);
  }

  /** @param {Event} event */
  #choose(event) {
    const step = stepAt(event);
    if (step === null) return;
    this.#input.value = step;
    this.#mark();
  }

  /** @param {Event} event */
  #lookAt(event) {
    const step = stepAt(event);
    if (step !== null) this.#look(step);
  }
}

/**
 * @param {Event} event
 * @returns {string | null}
 */
function stepAt(event) {
  const item = event.target instanceof Element ? event.target.closest("li") : null;
  return item?.dataset.key ?? null;
}

/**
 * @param {string} step
 * @returns {HTMLElement}
 */
function newRow(step) {
  const parts = [make("span", { class: "name" }, step), make("span", { class: "graft" }), make("span", { class: "marks" })];
  return make("li", {}, make("button", { class: "step", type: "button", "aria-pressed": "false" }, ...parts));
}

/**
 * @param {HTMLElement} marks
 * @param {number} flags
 * @param {boolean} isPruned
 * @param {readonly string[]} users
 */
function drawMarks(marks, flags, isPruned, users) {
  const shown = [
    ...(isPruned ? ["=pruned"] : []),
    ...(flags ? [`!${counted(flags, "flag")}`] : []),
    ...users.slice(0, CURSORS_SHOWN_MAX).map((user) => `@${user}`),
    ...(users.length > CURSORS_SHOWN_MAX ? [`=${users.length - CURSORS_SHOWN_MAX} more`] : []),
  ];
  reconcile(
    marks,
    shown,
    (mark) => {
      const kind = mark.startsWith("!") ? "tag flagged" : mark.startsWith("@") ? `tag user ${colourOf(mark.slice(1))}` : "tag";
      return make("span", { class: kind }, mark.slice(1));
    },
    () => {},
  );
}
