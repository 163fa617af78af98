// @ts-check
/**
 * A notice when others act: one sentence for everything that they did in a moment, so that a busy run does not chatter.
 */

import { aboutOf } from "./board.js";
import { byId, counted, make } from "./dom.js";

const GATHER_MS = 1200;
const SHOWN_MS = 5000;
const SHOWN_MAX = 3;
const USERS_NAMED_MAX = 3;

/** @type {Readonly<Record<string, string>>} */
const VERBS = { GRAFT: "grafted", PRUNE: "pruned", FLAG: "flagged", CHAT: "wrote" };

/** Gathers what others do, and says it. */
export class Notices {
  #box = byId("notices");
  /** @type {{user: string, verb: string, about: string}[]} */
  #gathered = [];
  #count = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * Somebody else made an event, or came, or left.
   * @param {{eventType: string, userId: string, data: Record<string, unknown>}} event
   */
  told(event) {
    const verb = event.eventType === "USER_JOIN" ? "joined" : event.eventType === "USER_LEAVE" ? "left" : VERBS[event.eventType] ?? `made ${event.eventType}`;
    this.#count += 1;
    if (this.#gathered.length < 50) this.#gathered.push({ user: event.userId, verb, about: aboutOf(event.data) });
    this.#timer ??= setTimeout(() => this.#say(), GATHER_MS);
  }

  /**
   * Say something at once.
   * @param {string} text
   */
  say(text) {
    const notice = make("p", {}, text);
    this.#box.append(notice);
    while (this.#box.childElementCount > SHOWN_MAX) this.#box.firstElementChild?.remove();
    setTimeout(() => notice.remove(), SHOWN_MS);
  }

  /** Forget what was not said yet. */
  clear() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#gathered = [];
    this.#count = 0;
    this.#box.replaceChildren();
  }

  #say() {
    const [first] = this.#gathered;
    const count = this.#count;
    const users = [...new Set(this.#gathered.map((one) => one.user))];
    this.clearGathered();
    if (first === undefined) return;
    if (count === 1) return this.say(`${first.user} ${first.verb}${first.about ? ` ${first.about}` : ""}`);
    const named = users.slice(0, USERS_NAMED_MAX).join(", ");
    const others = users.length > USERS_NAMED_MAX ? ` and ${users.length - USERS_NAMED_MAX} more` : "";
    this.say(`${counted(count, "change")} by ${named}${others}`);
  }

  clearGathered() {
    this.#timer = undefined;
    this.#gathered = [];
    this.#count = 0;
  }
}
