// @ts-check
/** The dialog that asks for confirmation before an action. Escape and Cancel do nothing. */

import { byId, write } from "../page/dom.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} text
 * @property {string} ok What the button says.
 * @property {boolean} [isDanger]
 * @property {string} [user] If given, a user is asked for, and this one is filled in.
 * @property {{label: string, value: number, max: number}} [time] If given, a time is asked for.
 */

/**
 * @param {Question} question
 * @returns {Promise<{user: string, time: number} | null>} What was filled in; null if it was called off.
 */
export function confirm(question) {
  const dialog = byId("confirm", HTMLDialogElement);
  const user = byId("confirm-user", HTMLInputElement);
  const time = byId("confirm-time", HTMLInputElement);
  const ok = byId("confirm-ok", HTMLButtonElement);
  write(byId("confirm-title"), question.title);
  write(byId("confirm-text"), question.text);
  write(byId("confirm-error"), "");
  write(ok, question.ok);
  ok.classList.toggle("danger", question.isDanger ?? false);
  byId("confirm-user-field").hidden = question.user === undefined || question.user !== "";
  user.value = question.user ?? "";
  byId("confirm-time-field").hidden = question.time === undefined;
  if (question.time !== undefined) {
    write(byId("confirm-time-label"), question.time.label);
    time.value = String(question.time.value);
    time.max = String(question.time.max);
  }
  const end = new AbortController();
  return new Promise((resolve) => {
    const form = /** @type {HTMLFormElement} */ (dialog.firstElementChild);
    const done = (/** @type {{user: string, time: number} | null} */ outcome) => {
      end.abort();
      if (dialog.open) dialog.close();
      resolve(outcome);
    };
    form.noValidate = true;
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        const number = Number(time.value);
        if (question.user !== undefined && !user.value.trim()) return write(byId("confirm-error"), "Name the user.");
        if (question.time !== undefined && !(time.value !== "" && number >= 0 && number <= question.time.max)) {
          return write(byId("confirm-error"), `Give a number from 0 to ${question.time.max}.`);
        }
        done({ user: question.user || user.value.trim(), time: number }); // a given user may have a space at its end
      },
      { signal: end.signal },
    );
    byId("confirm-cancel").addEventListener("click", () => done(null), { signal: end.signal });
    dialog.addEventListener("close", () => done(null), { signal: end.signal });
    dialog.showModal();
  });
}
