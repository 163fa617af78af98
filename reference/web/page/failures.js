// @ts-check
/** What this user made and the run does not have: shown until it is dismissed, after a reload too. */

import { aboutOf, textOf } from "./board.js";
import { byId, counted, make, write } from "./dom.js";

/** @typedef {import("../client/failures.js").Failure} Failure */

/** Draws the list of failures. */
export class FailureList {
  #box = byId("failures-box");

  /** @param {() => void} dismiss Called when the user has seen them. */
  constructor(dismiss) {
    byId("failures-dismiss").addEventListener("click", dismiss);
  }

  /** @param {readonly Failure[]} failures Oldest first. */
  draw(failures) {
    this.#box.hidden = failures.length === 0;
    write(byId("failures-title"), `Not accepted: ${counted(failures.length, "event")}`);
    byId("failures").replaceChildren(...failures.map(rowOf));
  }
}

/** @param {Failure} failure */
function rowOf({ eventType, data, message, mayHaveArrived }) {
  const [about, text] = [aboutOf(data), textOf(data)];
  const said = make("span", { class: "said" });
  if (about) said.append(make("b", {}, about), " ");
  if (text) said.append(text, " ");
  const why = `${message.charAt(0).toUpperCase()}${message.slice(1)}.${mayHaveArrived ? " It may have arrived all the same." : ""}`;
  said.append(make("span", { class: "why small" }, why));
  return make("li", { "data-text": text }, make("span", { class: "kind" }, eventType), said);
}
