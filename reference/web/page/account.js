// @ts-check
/**
 * Who uses this page: a name on a development server, an access token on every other.
 *
 * The token stays in this tab (`sessionStorage`); it is in no address and is sent in no URL (protocol 10.1).
 */

/**
 * @typedef {object} Account
 * @property {string} token
 * @property {string} user The user whom the token names, for display; the server decides.
 */

const KEY = "steadywire.token";

/**
 * Whether this server takes development tokens. A server that cannot be asked is taken for one that does not.
 * @returns {Promise<boolean>}
 */
export async function isDevelopmentServer() {
  try {
    const answer = await fetch("/web/settings.json", { cache: "no-store" });
    if (!answer.ok) return false;
    const settings = await answer.json();
    return settings.isDevelopment === true;
  } catch {
    return false;
  }
}

/**
 * @param {string} text What was typed: a name, or a token.
 * @param {boolean} isDevelopment
 * @param {"dev" | "dev-admin"} [prefix]
 * @returns {Account}
 */
export function accountOf(text, isDevelopment, prefix = "dev") {
  const trimmed = text.trim();
  if (isDevelopment && !trimmed.includes(":")) return { token: `${prefix}:${trimmed}`, user: trimmed };
  return { token: trimmed, user: userOf(trimmed) };
}

/**
 * The user that a token names, read without verifying it.
 * @param {string} token
 * @returns {string}
 */
export function userOf(token) {
  const development = /^dev(?:-admin)?:(.*)$/.exec(token);
  if (development !== null) return development[1] ?? "";
  try {
    const body = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims.sub === "string" ? claims.sub : "";
  } catch {
    return "";
  }
}

/** @returns {Account | null} The account of this tab. */
export function currentAccount() {
  try {
    const token = sessionStorage.getItem(KEY);
    return token === null ? null : { token, user: userOf(token) };
  } catch {
    return null;
  }
}

/** @param {Account} account */
export function keepAccount(account) {
  try {
    sessionStorage.setItem(KEY, account.token);
  } catch {
    // A browser that keeps nothing asks again after a reload.
  }
}

export function forgetAccount() {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept.
  }
}
