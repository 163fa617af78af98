// @ts-check
/**
 * The connection-health component: shows the health of a client's connection.
 *
 * One module, two uses. In a page it defines the custom element `<connection-health>`; in a notebook its default export is an
 * anywidget. Both draw one plain object, `Health`, and know nothing of where it comes from:
 *
 *     element.health = { status: "Disconnected", reason: "connection lost", nextAttemptInMs: 4000 };
 *
 * Rules that hold whatever is assigned, however often:
 *   - at most ten drawings a second, the latest value last; a countdown ticks by itself;
 *   - text nodes only: nothing that is assigned is ever read as markup;
 *   - fixed places: a value that comes, goes or grows moves nothing else;
 *   - the status is a word and a shape before it is a colour, and a `role="status"` region announces it when it changes;
 *   - no inline style and no style element, so that it works under `style-src 'self'`.
 *
 * `theme="light"` or `theme="dark"` overrides the system's colour scheme.
 */

/**
 * @typedef {"Connected" | "Reconnected" | "Disconnected" | "HTTP Polling"} Status
 * @typedef {"HEALTHY" | "DEGRADED" | "UNHEALTHY" | "UNKNOWN"} Quality
 *
 * @typedef {object} RoundTrip Times in ms; null before the first ping was answered.
 * @property {number} samples
 * @property {number | null} [meanMs]
 * @property {number | null} [p50Ms]
 * @property {number | null} [p95Ms]
 * @property {number | null} [p99Ms]
 *
 * @typedef {object} Health What the component draws. Protocol 7.33 and 7.34 define the figures.
 * @property {Status} status
 * @property {string | null} [transport] "websocket", "polling", or null while nothing carries the session.
 * @property {RoundTrip} [roundTrip]
 * @property {readonly number[]} [roundTripsMs] The latest round trips, oldest first, for the sparkline; the last 60 are drawn.
 * @property {number | null} [deliveryRate] From 0 to 1; null before the first publish was settled.
 * @property {number} [reconnections]
 * @property {number} [queuedMessages]
 * @property {Quality} [quality]
 * @property {number | null} [qualityScore] From 0 to 100.
 * @property {string | null} [reason] Why it is disconnected, or why it polls.
 * @property {string} [state] The client's state (protocol 3.9), which tells an attempt under way from a wait.
 * @property {{kind: string, at: number} | null} [nextAttempt] When the next attempt is made, in ms since 1970 by this machine's clock.
 * @property {number | null} [nextAttemptInMs] The same, counted from the assignment: for a source with a clock of its own.
 * @property {object | null} [end] Set once the session has ended: nothing will be tried again.
 */

const DRAW_INTERVAL_MS = 100;
const TICK_MS = 1000;
const SPARK_POINTS_MAX = 60;
const SPARK_WIDTH = 120;
const SPARK_HEIGHT = 28;
const DASH = "\u2013";
const SVG = "http://www.w3.org/2000/svg";

/** @type {Readonly<Record<Status, {kind: string, shape: string}>>} The shape tells the statuses apart without colour. */
const LOOKS = {
  Connected: { kind: "connected", shape: "M8 2a6 6 0 1 1 0 12a6 6 0 1 1 0-12z" },
  Reconnected: {
    kind: "reconnected",
    shape: "M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14zm0 1.6a5.4 5.4 0 1 0 0 10.8a5.4 5.4 0 1 0 0-10.8zM8 4.4a3.6 3.6 0 1 1 0 7.2a3.6 3.6 0 1 1 0-7.2z",
  },
  Disconnected: {
    kind: "disconnected",
    shape: "M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14zM5.4 4.2L4.2 5.4L6.8 8l-2.6 2.6l1.2 1.2L8 9.2l2.6 2.6l1.2-1.2L9.2 8l2.6-2.6l-1.2-1.2L8 6.8z",
  },
  "HTTP Polling": { kind: "polling", shape: "M8 1a7 7 0 1 1 0 14a7 7 0 1 1 0-14zm0 1.8v10.4a5.2 5.2 0 0 0 0-10.4z" },
};

/** @type {Readonly<Record<Quality, string>>} */
const QUALITY_WORDS = { HEALTHY: "Healthy", DEGRADED: "Degraded", UNHEALTHY: "Unhealthy", UNKNOWN: "Unknown" };

/** @type {Readonly<Record<string, string>>} */
const TRANSPORT_WORDS = { websocket: "WebSocket", polling: "HTTP polling" };

const STYLE = `
:host {
  --sw-surface: light-dark(#ffffff, #171b22);
  --sw-line: light-dark(#dfe3e9, #2c323c);
  --sw-ink: light-dark(#1b2430, #e7ebf1);
  --sw-soft: light-dark(#566173, #9aa6b8);
  --sw-good: light-dark(#1a7f4b, #4cc38a);
  --sw-again: light-dark(#1668b8, #63b0f5);
  --sw-bad: light-dark(#c22f3d, #ff7b84);
  --sw-warn: light-dark(#8f5a00, #f2b84b);
  --sw-focus: light-dark(#1668b8, #63b0f5);
  color-scheme: light dark;
  display: block;
  container-type: inline-size;
  font: 0.875rem/1.4 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  color: var(--sw-ink);
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]) { display: none; }
* { box-sizing: border-box; margin: 0; }
.card {
  display: grid; grid-template-columns: minmax(15rem, 1fr) auto; gap: 0 1.5rem; align-items: center;
  background: var(--sw-surface); border: 1px solid var(--sw-line); border-radius: 12px; padding: 0.75rem 1rem;
}
.state { display: grid; grid-template-columns: 1.25rem 1fr auto; column-gap: 0.625rem; align-items: center; min-width: 0; }
.dot { width: 1.25rem; height: 1.25rem; fill: var(--sw-soft); }
.dot path { fill-rule: evenodd; }
.announced { display: contents; }
.status { font-size: 1.0625rem; font-weight: 650; letter-spacing: -0.01em; white-space: nowrap; }
.message { grid-column: 1 / -1; min-height: 2.8em; max-height: 2.8em; overflow: hidden; margin-top: 0.125rem; color: var(--sw-soft);
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow-wrap: anywhere; }
.countdown { font-variant-numeric: tabular-nums; }
.connected .dot, .connected .status { fill: var(--sw-good); color: var(--sw-good); }
.reconnected .dot, .reconnected .status { fill: var(--sw-again); color: var(--sw-again); }
.disconnected .dot, .disconnected .status { fill: var(--sw-bad); color: var(--sw-bad); }
.polling .dot, .polling .status { fill: var(--sw-warn); color: var(--sw-warn); }
.polling .message, .disconnected .message { color: var(--sw-ink); }
.figures { display: grid; grid-template-columns: 19.5rem 7.25rem 7.75rem 7.75rem 5.5rem; align-items: stretch; }
.figures > div { padding: 0 0.875rem; border-left: 1px solid var(--sw-line); display: flex; flex-direction: column; justify-content: center; }
dt { color: var(--sw-soft); font-size: 0.75rem; white-space: nowrap; }
dd { font-size: 1rem; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; min-height: 1.4em; }
dd small { font-size: 0.75rem; font-weight: 500; color: var(--sw-soft); }
.latency dd { display: grid; grid-template-columns: 1fr 7.5rem; gap: 0.75rem; align-items: center; }
.latency .values { display: flex; gap: 0.375rem; align-items: baseline; }
.spark { width: 7.5rem; height: 1.75rem; overflow: visible; }
.spark .line { fill: none; stroke: var(--sw-again); stroke-width: 1.5; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.spark .area { fill: var(--sw-again); opacity: 0.14; }
.spark .last { fill: var(--sw-again); }
.spark .floor { stroke: var(--sw-line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.q-healthy { color: var(--sw-good); } .q-degraded { color: var(--sw-warn); } .q-unhealthy { color: var(--sw-bad); }
.queued.some { color: var(--sw-warn); }
button { font: inherit; font-size: 0.75rem; color: var(--sw-soft); background: none; border: 1px solid var(--sw-line); border-radius: 6px;
  padding: 0.1875rem 0.5rem; min-height: 1.75rem; cursor: pointer; }
button:hover { color: var(--sw-ink); border-color: var(--sw-soft); }
button:focus-visible { outline: 2px solid var(--sw-focus); outline-offset: 2px; }
.details { grid-column: 1 / -1; display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.5rem 1.25rem;
  margin-top: 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--sw-line); }
.details[hidden] { display: none; }
.details dd { font-weight: 500; font-size: 0.875rem; }
.details .wide { grid-column: 1 / -1; } .details .wide dd { white-space: normal; overflow-wrap: anywhere; }
@container (max-width: 66rem) {
  .card { grid-template-columns: 1fr; gap: 0.5rem 0; }
  .figures { border-top: 1px solid var(--sw-line); padding-top: 0.625rem; grid-template-columns: 19.5rem repeat(4, minmax(0, 1fr)); }
  .figures > div:first-child { border-left: 0; padding-left: 0; }
}
@container (max-width: 46rem) {
  .figures { grid-template-columns: repeat(4, minmax(0, 1fr)); row-gap: 0.625rem; }
  .figures > .latency { grid-column: 1 / -1; }
  .figures > div { border-left: 0; padding: 0 0.5rem 0 0; }
}
@container (max-width: 26rem) {
  .message { min-height: 4.2em; max-height: 4.2em; -webkit-line-clamp: 3; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media (prefers-reduced-motion: no-preference) {
  .trying .dot { animation: sw-breathe 1.6s ease-in-out infinite; }
  @keyframes sw-breathe { 50% { opacity: 0.35; } }
}
@media (forced-colors: active) { .dot, .spark .last { fill: CanvasText; } .spark .line { stroke: CanvasText; } }
`;

/** @type {CSSStyleSheet | undefined} One sheet serves every element of the page. */
let sharedSheet;

/** @returns {CSSStyleSheet} */
function sheet() {
  if (sharedSheet === undefined) {
    sharedSheet = new CSSStyleSheet();
    sharedSheet.replaceSync(STYLE);
  }
  return sharedSheet;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} className
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
function html(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} attributes
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[T]}
 */
function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Set a text only if it differs: an unchanged live region must stay silent.
 * @param {Node} node
 * @param {string} text
 */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
function isFinite(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/**
 * A duration for people: 4.2 ms, 42 ms, 1.3 s.
 * @param {number | null | undefined} ms
 * @returns {string}
 */
export function formatMs(ms) {
  if (!isFinite(ms)) return DASH;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 9999.5) return `${Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 99950 ? 1 : 0)} s`;
}

/**
 * A time to wait for people: 4 s, 2 min 5 s.
 * @param {number} ms
 * @returns {string}
 */
export function formatWait(ms) {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/**
 * A share for people: never 100 % unless it is all.
 * @param {number | null | undefined} share
 * @returns {string}
 */
export function formatShare(share) {
  if (!isFinite(share)) return DASH;
  const percent = share * 100;
  if (percent === 100 || percent === 0) return `${percent} %`;
  return `${Math.min(percent, 99.9).toFixed(1)} %`;
}

/**
 * @param {number | undefined} count
 * @returns {string}
 */
function formatCount(count) {
  return isFinite(count) ? count.toLocaleString("en") : DASH;
}

/**
 * The points of a sparkline in a box of `width` by `height`: x by index, y from 0 at the bottom to the largest value at the top.
 * @param {readonly number[]} values
 * @param {number} width
 * @param {number} height
 * @returns {[number, number][]}
 */
export function sparkPoints(values, width, height) {
  const shown = values.filter(isFinite).slice(-SPARK_POINTS_MAX);
  const top = Math.max(...shown, 1);
  const step = shown.length > 1 ? width / (shown.length - 1) : 0;
  return shown.map((value, index) => [
    shown.length > 1 ? index * step : width,
    height - 2 - (Math.max(value, 0) / top) * (height - 4),
  ]);
}

/** States in which an attempt is under way (protocol 3.9). */
const TRYING = new Set(["connecting", "greeting", "probe_connecting", "probe_greeting", "probe_proving"]);

/**
 * How long until the next attempt: 0 while one is under way, null if none is planned.
 * @param {Health} health
 * @param {number} sinceAssignedMs
 * @param {number} wallMs
 * @returns {number | null}
 */
export function waitOf(health, sinceAssignedMs, wallMs) {
  if (health.end || health.transport === "websocket") return null;
  if (health.state !== undefined && TRYING.has(health.state)) return 0;
  if (isFinite(health.nextAttemptInMs)) return Math.max(0, health.nextAttemptInMs - sinceAssignedMs);
  return isFinite(health.nextAttempt?.at) ? Math.max(0, health.nextAttempt.at - wallMs) : null;
}

/** @type {Health} What is shown before anything was assigned. */
const NOTHING_YET = { status: "Disconnected", reason: "not connected yet", nextAttemptInMs: null };

// In Node, where the pure functions above are tested, there is no HTMLElement to extend.
const Base = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/** The custom element. Assign `health`; everything else follows. */
export class ConnectionHealth extends Base {
  static observedAttributes = ["label"];

  /** @type {Health} */
  #health = NOTHING_YET;
  #assignedAt = 0;
  #drawnAt = -Infinity;
  #drawings = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof parts> | undefined} */
  #parts;

  /** The latest health. Assigning it is cheap, whatever the rate. */
  get health() {
    return this.#health;
  }

  /** @param {Health | null | undefined} health */
  set health(health) {
    this.#health = health && health.status in LOOKS ? health : NOTHING_YET;
    this.#assignedAt = performance.now();
    this.#schedule(this.#drawnAt + DRAW_INTERVAL_MS - this.#assignedAt);
  }

  /** How often it has been drawn, for tests of the limit. */
  get drawings() {
    return this.#drawings;
  }

  connectedCallback() {
    if (this.#parts === undefined) {
      // An element may get its health before its class is known; such an own property would hide the accessor.
      const early = Object.getOwnPropertyDescriptor(this, "health");
      if (early !== undefined) {
        Reflect.deleteProperty(this, "health");
        this.health = early.value;
      }
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet()];
      this.#parts = parts();
      root.append(this.#parts.card);
      this.#parts.more.addEventListener("click", () => this.#toggle());
    }
    this.attributeChangedCallback();
    this.#draw();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  attributeChangedCallback() {
    this.#parts?.card.setAttribute("aria-label", this.getAttribute("label") ?? "Connection health");
  }

  #toggle() {
    if (this.#parts === undefined) return;
    const isOpen = this.#parts.details.hidden;
    this.#parts.details.hidden = !isOpen;
    this.#parts.more.setAttribute("aria-expanded", String(isOpen));
  }

  /** @param {number} delayMs */
  #schedule(delayMs) {
    if (!this.isConnected) return;
    clearTimeout(this.#timer);
    if (delayMs <= 0) {
      this.#draw();
    } else {
      this.#timer = setTimeout(() => this.#draw(), delayMs);
    }
  }

  #draw() {
    const at = this.#parts;
    if (at === undefined || !this.isConnected) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#drawnAt = performance.now();
    this.#drawings += 1;
    const health = this.#health;
    const look = LOOKS[health.status];
    const waitMs = waitOf(health, this.#drawnAt - this.#assignedAt, Date.now());
    at.card.className = `card ${look.kind}${waitMs === 0 ? " trying" : ""}`;
    if (at.shape.getAttribute("d") !== look.shape) at.shape.setAttribute("d", look.shape);
    write(at.status, health.status);
    const [sentence, promise] = messageOf(health, waitMs);
    write(at.reason, sentence);
    write(at.countdown, promise);
    this.#drawFigures(at, health);
    if (waitMs !== null && waitMs > 0) this.#timer = setTimeout(() => this.#draw(), Math.min(waitMs, waitMs % TICK_MS || TICK_MS));
  }

  /**
   * @param {NonNullable<ReturnType<typeof parts>>} at
   * @param {Health} health
   */
  #drawFigures(at, health) {
    const trips = health.roundTrip ?? { samples: 0 };
    const quality = health.quality ?? "UNKNOWN";
    write(at.p50, formatMs(trips.p50Ms));
    write(at.p95, formatMs(trips.p95Ms));
    write(at.delivery, formatShare(health.deliveryRate));
    write(at.reconnections, formatCount(health.reconnections ?? 0));
    write(at.quality, QUALITY_WORDS[quality] ?? QUALITY_WORDS.UNKNOWN);
    at.quality.className = `q-${quality.toLowerCase()}`;
    write(at.queued, formatCount(health.queuedMessages ?? 0));
    at.queued.className = (health.queuedMessages ?? 0) > 0 ? "queued some" : "queued";
    write(at.transport, TRANSPORT_WORDS[health.transport ?? ""] ?? "none");
    write(at.mean, formatMs(trips.meanMs));
    write(at.p99, formatMs(trips.p99Ms));
    write(at.samples, formatCount(trips.samples));
    write(at.score, isFinite(health.qualityScore) ? `${Math.round(health.qualityScore)} of 100` : DASH);
    write(at.why, health.reason || DASH);
    const points = sparkPoints(health.roundTripsMs ?? [], SPARK_WIDTH, SPARK_HEIGHT);
    const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
    if (at.line.getAttribute("points") === line) return;
    const [lastX, lastY] = points.at(-1) ?? [SPARK_WIDTH, SPARK_HEIGHT];
    at.line.setAttribute("points", line);
    at.area.setAttribute("points", points.length > 1 ? `0,${SPARK_HEIGHT} ${line} ${lastX},${SPARK_HEIGHT}` : "");
    at.last.setAttribute("cx", String(lastX));
    at.last.setAttribute("cy", String(lastY));
    at.last.setAttribute("r", points.length ? "2" : "0");
  }
}

/**
 * The sentence below the status, and what comes next.
 * @param {Health} health
 * @param {number | null} waitMs
 * @returns {[string, string]}
 */
export function messageOf(health, waitMs) {
  const why = health.reason ? sentence(health.reason) : "";
  if (health.status === "Disconnected") {
    if (health.end) return [why || "The session has ended.", ""];
    if (health.state === "refreshing") return [why || "The connection was lost.", "Waiting for a new access token."];
    const promise = waitMs === null ? "" : waitMs > 0 ? `Next attempt in ${formatWait(waitMs)}.` : "Connecting now.";
    return [why || "The connection was lost.", promise];
  }
  if (health.status === "HTTP Polling") {
    const warning = `${why || "WebSocket does not work here."} Updates arrive with a delay.`;
    const promise = waitMs === null ? "" : waitMs > 0 ? `WebSocket again in ${formatWait(waitMs)}.` : "Trying WebSocket now.";
    return [warning, promise];
  }
  return [health.status === "Reconnected" ? "Back after an interruption." : "Live over WebSocket.", ""];
}

/**
 * @param {string} text
 * @returns {string}
 */
function sentence(text) {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?\u2026]$/.test(capital) ? capital : `${capital}.`;
}

/** Everything that is drawn, made once. */
function parts() {
  const shape = svg("path", { d: LOOKS.Disconnected.shape });
  const dot = svg("svg", { class: "dot", viewBox: "0 0 16 16", "aria-hidden": "true" }, shape);
  const status = html("span", "status");
  const reason = html("span", "reason");
  const countdown = html("span", "countdown");
  const more = html("button", "more", "Details");
  more.type = "button";
  more.setAttribute("aria-expanded", "false");
  // The countdown stands outside of the region that is announced: a reader that hears every second of it hears nothing else.
  const announced = html("span", "announced", status);
  announced.setAttribute("role", "status");
  const message = html("p", "message", reason, " ", countdown);
  const state = html("div", "state", dot, announced, more, message);

  const p50 = html("span", "", DASH);
  const p95 = html("span", "", DASH);
  const floor = svg("line", { class: "floor", x1: "0", y1: String(SPARK_HEIGHT), x2: String(SPARK_WIDTH), y2: String(SPARK_HEIGHT) });
  const area = svg("polygon", { class: "area", points: "" });
  const line = svg("polyline", { class: "line", points: "" });
  const last = svg("circle", { class: "last", r: "0" });
  const box = `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`;
  const spark = svg("svg", { class: "spark", viewBox: box, preserveAspectRatio: "none", "aria-hidden": "true" }, floor, area, line, last);
  const values = html("span", "values", p50, html("small", "", "/"), p95);
  const delivery = html("dd", "", DASH);
  const reconnections = html("dd", "", "0");
  const quality = html("dd", "", "Unknown");
  const queued = html("dd", "queued", "0");
  const figures = html(
    "dl",
    "figures",
    html("div", "latency", html("dt", "", "Latency p50 / p95"), html("dd", "", values, spark)),
    html("div", "", html("dt", "", "Delivery rate"), delivery),
    html("div", "", html("dt", "", "Reconnections"), reconnections),
    html("div", "", html("dt", "", "Quality"), quality),
    html("div", "", html("dt", "", "Queued"), queued),
  );

  /** @param {string} name */
  const detail = (name, className = "") => {
    const value = html("dd", "", DASH);
    return { row: html("div", className, html("dt", "", name), value), value };
  };
  const rows = {
    transport: detail("Transport"),
    mean: detail("Mean round trip"),
    p99: detail("Round trip p99"),
    samples: detail("Round trips measured"),
    score: detail("Quality score"),
    why: detail("Reason", "wide"),
  };
  const details = html("dl", "details", ...Object.values(rows).map((one) => one.row));
  details.hidden = true;
  details.id = "details";
  more.setAttribute("aria-controls", "details");

  const card = html("section", "card", state, figures, details);
  return {
    card,
    shape,
    status,
    reason,
    countdown,
    more,
    details,
    p50,
    p95,
    area,
    line,
    last,
    delivery,
    reconnections,
    quality,
    queued,
    transport: rows.transport.value,
    mean: rows.mean.value,
    p99: rows.p99.value,
    samples: rows.samples.value,
    score: rows.score.value,
    why: rows.why.value,
  };
}

// A notebook loads this module once for every widget: the first one defines the element.
if (globalThis.customElements && !customElements.get("connection-health")) customElements.define("connection-health", ConnectionHealth);

/**
 * JupyterLab says its theme on the body, and not to the system's colour scheme.
 * @param {Element} element
 * @returns {() => void} Stops following it.
 */
export function followNotebookTheme(element) {
  const apply = () => {
    const isLight = document.body.dataset.jpThemeLight;
    if (isLight !== undefined) element.setAttribute("theme", isLight === "false" ? "dark" : "light");
  };
  apply();
  const observer = new MutationObserver(apply);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  return () => observer.disconnect();
}

/**
 * The anywidget: a model with the traits `health` (a `Health`) and `label`.
 * @typedef {object} WidgetModel
 * @property {(name: string) => any} get
 * @property {(event: string, callback: () => void) => void} on
 * @property {(event: string, callback: () => void) => void} off
 */
export default {
  /** @param {{model: WidgetModel, el: HTMLElement}} context */
  render({ model, el }) {
    const element = /** @type {ConnectionHealth} */ (document.createElement("connection-health"));
    const show = () => {
      element.health = model.get("health");
    };
    const name = () => element.setAttribute("label", model.get("label"));
    name();
    show();
    el.append(element);
    const stopFollowing = followNotebookTheme(element);
    model.on("change:health", show);
    model.on("change:label", name);
    return () => {
      model.off("change:health", show);
      model.off("change:label", name);
      stopFollowing();
    };
  },
};
