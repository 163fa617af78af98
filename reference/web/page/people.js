// @ts-check
/** Who is in the run, and where their cursors are. */

import { byId, counted, make, reconcile, write } from "./dom.js";

const PEOPLE_SHOWN_MAX = 200;

/**
 * A colour class for a user: the same on every screen.
 * @param {string} user
 * @returns {string}
 */
export function colourOf(user) {
  let hash = 0;
  for (const character of user) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0;
  return `person p${hash % 8}`;
}

/**
 * The step that a cursor is at; null if it is nowhere on the board.
 * @param {Record<string, unknown>} cursor
 * @returns {string | null}
 */
export function stepOf(cursor) {
  if (typeof cursor.position === "string") return cursor.position;
  return typeof cursor.line === "number" ? `line-${cursor.line}` : null;
}

/**
 * @param {Record<string, unknown> | undefined} cursor
 * @returns {string}
 */
function whereOf(cursor) {
  if (cursor === undefined) return "";
  const step = stepOf(cursor);
  if (step !== null) return `at ${step}`;
  return Object.entries(cursor)
    .slice(0, 3)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(", ");
}

/**
 * @param {readonly string[]} users
 * @param {ReadonlyMap<string, Record<string, unknown>>} cursors
 * @param {string} me
 */
export function drawPeople(users, cursors, me) {
  const shown = users.slice(0, PEOPLE_SHOWN_MAX);
  write(byId("people-count"), users.length > shown.length ? `${counted(users.length, "user")}, ${shown.length} shown` : counted(users.length, "user"));
  reconcile(
    byId("people"),
    shown,
    (user) => {
      const swatch = make("span", { class: `swatch ${colourOf(user)}`, "aria-hidden": "true" });
      const name = make("span", { class: "name" }, user === me ? `${user} (you)` : user);
      return make("li", {}, swatch, name, make("span", { class: "where soft small" }));
    },
    (node, user) => {
      if (node.lastElementChild) write(node.lastElementChild, whereOf(cursors.get(user)));
    },
  );
}
