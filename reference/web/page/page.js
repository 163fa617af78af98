// @ts-check
/**
 * The run's page: a lobby where a run is chosen or made, and the room of that run.
 *
 * The address says which run is shown (`/#run=<uuid>`), so a link joins it and the browser's back button leaves it.
 */

import "../component/connection_health.js";
import { createRun } from "../index.js";
import { accountOf, currentAccount, isDevelopmentServer, keepAccount } from "./account.js";
import { byId, followTheme, make, remember, remembered, write } from "./dom.js";
import { Room } from "./room.js";

const RUN_ID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/i;
const RECENT_MAX = 6;

const room = new Room();
let isDevelopment = false;

/** The run that the address names; null if it names none. */
function runOfAddress() {
  return RUN_ID.exec(location.hash)?.[0].toLowerCase() ?? null;
}

/**
 * The first token is that of this tab; a later one is asked for, since the server did not take the first.
 * @param {string} first
 * @returns {() => string | Promise<string>}
 */
function tokensAfter(first) {
  let isFirst = true;
  return () => {
    if (isFirst) {
      isFirst = false;
      return first;
    }
    return askForToken();
  };
}

/** @returns {Promise<string>} */
function askForToken() {
  const dialog = byId("token-dialog", HTMLDialogElement);
  const input = byId("token-input", HTMLInputElement);
  input.value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve, reject) => {
    const done = () => {
      dialog.removeEventListener("close", done);
      const account = accountOf(input.value, isDevelopment);
      if (!input.value.trim()) return reject(new Error("no new access token was given"));
      keepAccount(account);
      resolve(account.token);
    };
    dialog.addEventListener("close", done);
  });
}

/** Show what the address says. */
function show() {
  const runId = runOfAddress();
  const account = currentAccount();
  const isInRoom = runId !== null && account !== null;
  byId("lobby").hidden = isInRoom;
  byId("room").hidden = !isInRoom;
  byId("run-name").hidden = !isInRoom;
  byId("leave").hidden = !isInRoom;
  write(byId("who"), isInRoom ? account.user : "");
  if (isInRoom) {
    document.title = `Run ${runId.slice(0, 8)} \u2013 steadywire`;
    write(byId("run-id"), runId);
    rememberRun(runId);
    room.enter(runId, account, tokensAfter(account.token));
  } else {
    document.title = "steadywire";
    room.leave();
    if (runId !== null) byId("run-input", HTMLInputElement).value = runId;
    if (account !== null) byId("identity", HTMLInputElement).value = isDevelopment ? account.user : account.token;
    drawRecent();
    byId("identity").focus();
  }
}

/** @returns {string[]} */
function recentRuns() {
  try {
    const runs = JSON.parse(remembered("runs") ?? "[]");
    return Array.isArray(runs) ? runs.filter((run) => typeof run === "string" && RUN_ID.test(run)).slice(0, RECENT_MAX) : [];
  } catch {
    return [];
  }
}

/** @param {string} runId */
function rememberRun(runId) {
  remember("runs", JSON.stringify([runId, ...recentRuns().filter((run) => run !== runId)].slice(0, RECENT_MAX)));
}

function drawRecent() {
  const runs = recentRuns();
  byId("recent").hidden = runs.length === 0;
  byId("recent-runs").replaceChildren(
    ...runs.map((run) => {
      const button = make("button", { type: "button" }, make("code", {}, run), make("span", { class: "soft small" }, "Join"));
      button.addEventListener("click", () => {
        byId("run-input", HTMLInputElement).value = run;
        byId("join").click();
      });
      return make("li", {}, button);
    }),
  );
}

/** @param {SubmitEvent} event */
async function enter(event) {
  event.preventDefault();
  const complain = (/** @type {string} */ text) => write(byId("lobby-error"), text);
  const typed = byId("identity", HTMLInputElement).value.trim();
  // Enter in a field submits with the first button: whoever has typed a run wants to join it.
  const runText = byId("run-input", HTMLInputElement).value.trim();
  const isJoin = event.submitter?.id === "join" || (runText !== "" && document.activeElement instanceof HTMLInputElement);
  if (!typed) {
    complain(isDevelopment ? "Type a name first." : "Paste an access token first.");
    return byId("identity").focus();
  }
  const account = accountOf(typed, isDevelopment);
  const runId = isJoin ? RUN_ID.exec(runText)?.[0].toLowerCase() : newRunId();
  if (runId === undefined) {
    complain("A run id is a UUID such as 01234567-89ab-cdef-0123-456789abcdef; a link to the run works, too.");
    return byId("run-input").focus();
  }
  complain("");
  if (!isJoin) {
    byId("create", HTMLButtonElement).disabled = true;
    try {
      await createRun(runId, { token: account.token });
    } catch (error) {
      return complain(`The run could not be created: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      byId("create", HTMLButtonElement).disabled = false;
    }
  }
  keepAccount(account);
  if (runOfAddress() === runId) show();
  else location.hash = `run=${runId}`;
}

/** A random UUID. `crypto.randomUUID` needs a secure context, which a server in a local network may not be. */
function newRunId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

async function copyLink() {
  const button = byId("copy-link");
  try {
    await navigator.clipboard.writeText(location.href);
    write(button, "Copied");
  } catch {
    write(button, "Copy the address instead");
  }
  setTimeout(() => write(button, "Copy link"), 2000);
}

async function main() {
  followTheme(byId("theme", HTMLSelectElement));
  isDevelopment = await isDevelopmentServer();
  write(byId("identity-label"), isDevelopment ? "Your name" : "Access token");
  const hint = isDevelopment ? "This is a development server: it believes whatever name you give." : "It stays in this tab.";
  write(byId("identity-hint"), hint);
  byId("lobby-form").addEventListener("submit", (event) => void enter(/** @type {SubmitEvent} */ (event)));
  byId("copy-link").addEventListener("click", () => void copyLink());
  const leave = () => {
    location.hash = "";
  };
  byId("leave").addEventListener("click", leave);
  byId("ended-leave").addEventListener("click", leave);
  addEventListener("hashchange", show);
  show();
}

void main();
