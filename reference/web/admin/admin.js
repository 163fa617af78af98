// @ts-check
/**
 * The admin view: the state of the server and its sessions, refreshed about every second, and an operator's actions.
 *
 * It sends requests only while the page is visible. When the server does not answer, the last data stays, with a line that says since when.
 */

import { formatMs, formatShare } from "../component/connection_health.js";
import { accountOf, currentAccount, forgetAccount, isDevelopmentServer, keepAccount } from "../page/account.js";
import { byId, counted, followTheme, make, reconcile, write } from "../page/dom.js";
import { AdminApi, AdminError } from "./api.js";
import { QUALITY_WORDS, ReconnectionHistory, drawBars, drawQuality } from "./charts.js";
import { confirm } from "./confirm.js";
import { SessionTable } from "./table.js";

/** @typedef {import("./api.js").Picture} Picture */
/** @typedef {import("./api.js").Session} Session */

const INTERVAL_MS = 1000;
const INTERVAL_MS_PER_SESSION = 2;
/** The time between two requests: the longer, the more data there is. */
let intervalMs = INTERVAL_MS;
const RETRY_MAX_MS = 10_000;
const RUNS_SHOWN_MAX = 50;
const NOTICE_MS = 6000;
const [TOKEN, FORBIDDEN] = [4401, 4403];

/** @type {AdminApi | null} */
let api = null;
let isDevelopment = false;
let isPaused = false;
let failures = 0;
/** Of several requests in flight only the last one counts, and only it schedules the next. */
let question = 0;
let answeredAt = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let noticeTimer;
let history = new ReconnectionHistory();
const table = new SessionTable(actionsOfSession);

// Requests.

async function ask() {
  clearTimeout(timer);
  const asked = api;
  const mine = ++question;
  if (asked === null || isPaused || document.hidden) return;
  let waitMs = INTERVAL_MS;
  try {
    const picture = await asked.picture(byId("connected-only", HTMLInputElement).checked);
    if (mine !== question) return;
    failures = 0;
    answeredAt = Date.now();
    waitMs = intervalMs = INTERVAL_MS + picture.sessions.length * INTERVAL_MS_PER_SESSION;
    byId("trouble").hidden = picture.silent.length === 0;
    write(byId("trouble"), picture.silent.length ? `Without the processes that did not answer: ${picture.silent.join(", ")}.` : "");
    draw(picture);
  } catch (error) {
    if (mine !== question) return;
    if (!(error instanceof AdminError)) throw error;
    if (error.code === TOKEN || error.code === FORBIDDEN) return signOut(sentence(error.message));
    failures += 1;
    waitMs = Math.max(error.retryAfterMs, Math.min(RETRY_MAX_MS, INTERVAL_MS * 2 ** (failures - 1)));
    const since = answeredAt ? ` What you see is from ${new Date(answeredAt).toLocaleTimeString()}.` : "";
    write(byId("trouble"), `${sentence(error.message)}${since}`);
    byId("trouble").hidden = false;
  }
  drawFreshness();
  timer = setTimeout(() => void ask(), waitMs);
}

function drawFreshness() {
  const text = api === null ? "" : isPaused ? "Paused" : failures ? "Asking again" : answeredAt ? `Live, every ${(intervalMs / 1000).toFixed(intervalMs < 1100 ? 0 : 1)} s` : "Loading";
  write(byId("freshness"), text);
}

// Drawing.

/** @param {Picture} picture */
function draw(picture) {
  const { health } = picture;
  const storeText = health.isGoingAway ? "going away" : health.isStoreWritable ? "store writable" : "store cannot be written";
  drawFigures([
    ["Server", health.status === "UNKNOWN" ? "No data yet" : (QUALITY_WORDS[health.status] ?? health.status), `${storeText}, up ${upText(health.uptimeMs)}`],
    ["On WebSocket", health.totalConnections.toLocaleString("en"), counted(health.runsLoaded, "run")],
    ["On HTTP polling", health.totalPolling.toLocaleString("en"), "in fallback"],
    ["Round trip p50", formatMs(health.roundTrip.p50Ms), `p95 ${formatMs(health.roundTrip.p95Ms)}`],
    ["Delivery rate", formatShare(health.deliveryRate), "accepted of all settled"],
    ["Quality score", health.qualityScore === null ? "\u2013" : String(Math.round(health.qualityScore)), "mean, of 100"],
    ["Slow readers", health.readersLagging.toLocaleString("en"), `${counted(health.storeQueueBatches, "batch", "batches")} to store`],
  ]);
  drawQuality(byId("quality-bar"), byId("quality-legend"), health.sessionsByQuality);
  const now = Date.now();
  history.add(picture.sessions, now);
  drawBars(byId("reconnections-chart"), history.bars(now));
  write(byId("reconnections-now"), `${history.total.toLocaleString("en")} since this page was opened`);
  drawRuns(picture);
  table.show(picture.sessions, picture.totalSessions);
  drawRefused(picture);
}

/** @param {[string, string, string][]} figures */
function drawFigures(figures) {
  const byName = new Map(figures.map((figure) => [figure[0], figure]));
  reconcile(
    byId("figures"),
    [...byName.keys()],
    (name) => make("div", {}, make("dt", {}, name), make("dd", {}, make("span", {}), make("small", {}))),
    (node, name) => {
      const [, value, note] = byName.get(name) ?? ["", "", ""];
      const [main, small] = node.lastElementChild?.children ?? [];
      if (main) write(main, value);
      if (small) write(small, note);
    },
  );
}

/** @param {Picture} picture */
function drawRuns({ connectionsPerRun, sessions }) {
  /** @type {Map<string, number>} */
  const counts = new Map(Object.entries(connectionsPerRun));
  for (const session of sessions) if (!counts.has(session.runId)) counts.set(session.runId, 0);
  const all = [...counts].sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
  const top = Math.max(1, all[0]?.[1] ?? 1);
  const shown = all.slice(0, RUNS_SHOWN_MAX).map(([run]) => run);
  write(byId("runs-count"), all.length > shown.length ? `${shown.length} of ${counted(all.length, "run")}` : counted(all.length, "run"));
  reconcile(byId("runs"), shown.length ? shown : ["none"], newRun, (node, run) => {
    const [, count, track] = node.children;
    if (count) write(count, (counts.get(run) ?? 0).toLocaleString("en"));
    if (track?.firstElementChild instanceof HTMLElement) track.firstElementChild.style.width = `${(100 * (counts.get(run) ?? 0)) / top}%`;
  });
}

/**
 * @param {string} run
 * @returns {HTMLElement}
 */
function newRun(run) {
  if (run === "none") return make("li", { class: "none" }, "No runs yet.");
  const open = make("a", { href: `/#run=${run}`, class: "id mono", title: run }, run);
  const actions = make(
    "span",
    { class: "actions" },
    action("Send away", `Send away everybody in run ${run}`, () => sendAway(run)),
    action("Delete", `Delete run ${run}`, () => deleteRun(run), "danger"),
  );
  return make("li", {}, open, make("span", { class: "count" }), make("span", { class: "track" }, make("span", {})), actions);
}

/** @param {Picture} picture */
function drawRefused({ refused }) {
  const users = new Map(refused.map((one) => [`@${one.userId}`, one]));
  reconcile(
    byId("refused"),
    users.size ? [...users.keys()] : ["none"],
    (key) => {
      const user = users.get(key)?.userId;
      if (user === undefined) return make("li", { class: "none" }, "Nobody is refused.");
      const allow = action("Allow again", `Allow again: ${user}`, () => act(`${user} may come in again`, (admin) => admin.allow(user)));
      return make("li", {}, make("span", { class: "user" }, user), make("span", { class: "soft small" }), allow);
    },
    (node, key) => {
      const one = users.get(key);
      const text = node.children[1];
      if (one && text) write(text, `until ${new Date(one.until).toLocaleString()}, by ${one.refusedBy}`);
    },
  );
}

// Actions.

/**
 * @param {string} text
 * @param {string} label
 * @param {() => void} run
 * @param {string} [className]
 */
function action(text, label, run, className = "") {
  const button = make("button", { type: "button", class: `small ${className}`, "aria-label": label }, text);
  button.addEventListener("click", run);
  return button;
}

/**
 * @param {() => Session | undefined} current
 * @param {string} user
 * @returns {HTMLElement}
 */
function actionsOfSession(current, user) {
  const close = action("Close", `Close the session of ${user}`, () => {
    const session = current();
    if (session !== undefined) void closeSession(session);
  });
  close.dataset.needsConnection = "";
  return make("span", { class: "actions" }, close, action("Refuse", `Refuse user ${user}`, () => void refuse(user), "danger"));
}

/** @param {Session} session */
async function closeSession(session) {
  const chosen = await confirm({
    title: `Close the session of ${session.userId}?`,
    text: "The client is told to leave and not to come back. What it has not sent yet is not accepted. A new session of the same user is not hindered.",
    ok: "Close session",
    isDanger: true,
  });
  if (chosen) await act(`The session of ${session.userId} was closed`, (admin) => admin.closeSession(session, true));
}

/** @param {string} run */
async function sendAway(run) {
  const chosen = await confirm({
    title: "Send everybody in this run away?",
    text: `Every client of run ${run} leaves and comes back after the time below. Nothing is lost: they resume where they were.`,
    ok: "Send away",
    time: { label: "Come back after, in seconds", value: 5, max: 3600 },
  });
  if (chosen) await act("Everybody was sent away", (admin) => admin.sendAway(run, Math.round(chosen.time * 1000)));
}

/** @param {string} run */
async function deleteRun(run) {
  const chosen = await confirm({
    title: "Delete this run?",
    text: `Run ${run} and all its events are removed from the store for good. Clients that are in it are told that there is no such run.`,
    ok: "Delete run",
    isDanger: true,
  });
  if (chosen) await act("The run was deleted", (admin) => admin.deleteRun(run));
}

/** @param {string} user Empty: ask for it. */
async function refuse(user) {
  const chosen = await confirm({
    title: user ? `Refuse ${user}?` : "Refuse a user?",
    text: "All sessions of this user are closed, and the user is turned away from every run until the time is over.",
    ok: "Refuse user",
    isDanger: true,
    user,
    time: { label: "For how many minutes", value: 60, max: 43_200 },
  });
  if (chosen) await act(`${chosen.user} is refused`, (admin) => admin.refuse(chosen.user, Math.round(chosen.time * 60_000)));
}

/**
 * Carry out the action, show its result, and refresh.
 * @param {string} done
 * @param {(admin: AdminApi) => Promise<{closed?: number, processesSilent?: string[]}>} work
 */
async function act(done, work) {
  if (api === null) return;
  try {
    const { closed, processesSilent = [] } = await work(api);
    const missing = processesSilent.length ? ` Not done at the processes that did not answer: ${processesSilent.join(", ")}.` : "";
    say(closed === undefined ? `${done}.${missing}` : `${done}: ${counted(closed, "connection")} closed.${missing}`);
  } catch (error) {
    if (!(error instanceof AdminError)) throw error;
    say(`That did not work: ${error.message}`);
  }
  void ask();
}

/** @param {string} text */
function say(text) {
  clearTimeout(noticeTimer);
  write(byId("notice"), text);
  noticeTimer = setTimeout(() => write(byId("notice"), ""), NOTICE_MS);
}

// Start and end.

/** @param {string} token @param {string} user */
function signIn(token, user) {
  api = new AdminApi(token);
  history = new ReconnectionHistory();
  failures = answeredAt = 0;
  byId("sign-in").hidden = true;
  byId("view").hidden = false;
  byId("pause").hidden = byId("sign-out").hidden = false;
  write(byId("who"), user);
  drawFreshness();
  void ask();
}

/** @param {string} why */
function signOut(why) {
  clearTimeout(timer);
  question += 1;
  api = null;
  forgetAccount();
  byId("view").hidden = true;
  byId("sign-in").hidden = false;
  byId("pause").hidden = byId("sign-out").hidden = true;
  write(byId("who"), "");
  write(byId("sign-in-error"), why);
  drawFreshness();
  byId("identity").focus();
}

/**
 * @param {string} text
 * @returns {string}
 */
function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return capital.endsWith(".") ? capital : `${capital}.`;
}

/**
 * @param {number} ms
 * @returns {string}
 */
function upText(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} days`;
}

async function main() {
  followTheme(byId("theme", HTMLSelectElement));
  isDevelopment = await isDevelopmentServer();
  if (isDevelopment) {
    write(byId("identity-label"), "Your name");
    write(byId("identity-hint"), "This is a development server: it believes whatever name you give.");
    byId("identity", HTMLInputElement).value = "operator";
  }
  byId("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const typed = byId("identity", HTMLInputElement).value;
    if (!typed.trim()) return write(byId("sign-in-error"), "Paste an access token first.");
    const account = accountOf(typed, isDevelopment, "dev-admin");
    write(byId("sign-in-error"), "");
    keepAccount(account);
    signIn(account.token, account.user);
  });
  byId("sign-out").addEventListener("click", () => signOut(""));
  byId("refuse").addEventListener("click", () => void refuse(""));
  byId("connected-only").addEventListener("change", () => void ask());
  byId("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    byId("pause").setAttribute("aria-pressed", String(isPaused));
    drawFreshness();
    void ask();
  });
  document.addEventListener("visibilitychange", () => void ask());
  const account = currentAccount();
  if (account !== null && (!isDevelopment || account.token.startsWith("dev-admin:"))) signIn(account.token, account.user);
  else if (isDevelopment) signIn("dev-admin:operator", "operator");
  else signOut("");
}

void main();
