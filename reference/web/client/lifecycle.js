/**
 * The lifecycle of a page: hidden and shown, left and restored (the back/forward cache), offline and online.
 *
 * A browser can keep a left page and show it again, but not while it holds a socket or a lock; so all are released when the
 * page is left, and acquired again when it is shown.
 */

/**
 * The parts of a page that this module uses.
 *
 * @typedef {object} Page
 * @property {Pick<Window, "addEventListener" | "removeEventListener">} window
 * @property {Pick<Document, "addEventListener" | "removeEventListener" | "visibilityState">} document
 * @property {{ onLine: boolean }} navigator
 *
 * @typedef {object} Changes
 * @property {(isHidden: boolean) => void} hidden
 * @property {() => void} left
 * @property {() => void} shown again, after it was left
 * @property {() => void} offline
 * @property {() => void} online
 */

/** @returns {Page | null} null: this is no page */
export function ownPage() {
  return typeof window === "undefined" || typeof document === "undefined" ? null : { window, document, navigator };
}

/**
 * Watch a page until `signal` is aborted.
 *
 * @param {Page} page
 * @param {Changes} changes
 * @param {AbortSignal} signal
 */
export function watchPage({ window, document }, changes, signal) {
  const how = { signal };
  document.addEventListener("visibilitychange", () => changes.hidden(document.visibilityState === "hidden"), how);
  window.addEventListener("pagehide", () => changes.left(), how);
  window.addEventListener("pageshow", (event) => /** @type {PageTransitionEvent} */ (event).persisted && changes.shown(), how);
  window.addEventListener("offline", () => changes.offline(), how);
  window.addEventListener("online", () => changes.online(), how);
}
