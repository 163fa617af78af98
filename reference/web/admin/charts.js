// @ts-check
/** The drawings of the admin view, in SVG and boxes; each has its numbers as text beside it. */

import { counted, make, reconcile, write } from "../page/dom.js";

const SVG = "http://www.w3.org/2000/svg";
const QUALITIES = /** @type {const} */ (["HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN"]);
/** @type {Readonly<Record<string, string>>} */
export const QUALITY_WORDS = { HEALTHY: "Healthy", DEGRADED: "Degraded", UNHEALTHY: "Unhealthy", UNKNOWN: "Not measured yet" };

/**
 * @param {HTMLElement} bar
 * @param {HTMLElement} legend
 * @param {Record<string, number>} counts
 */
export function drawQuality(bar, legend, counts) {
  const total = QUALITIES.reduce((sum, quality) => sum + (counts[quality] ?? 0), 0);
  reconcile(
    bar,
    QUALITIES.filter((quality) => (counts[quality] ?? 0) > 0),
    (quality) => make("span", { class: `fill ${quality}` }),
    (node, quality) => {
      node.style.flexGrow = String(counts[quality] ?? 0);
    },
  );
  reconcile(
    legend,
    QUALITIES,
    (quality) =>
      make("li", {}, make("span", { class: `swatch fill ${quality}`, "aria-hidden": "true" }), make("span", {}, QUALITY_WORDS[quality] ?? quality), make("span", {})),
    (node, quality) => {
      const count = counts[quality] ?? 0;
      const share = total ? ` (${Math.round((100 * count) / total)} %)` : "";
      if (node.lastElementChild) write(node.lastElementChild, `${count.toLocaleString("en")}${share}`);
    },
  );
}

/** Reconnections per interval, of the last ten minutes that this page has watched. */
export class ReconnectionHistory {
  static INTERVAL_MS = 5000;
  static BARS = 120;
  /** @type {Map<string, number>} By run and client: how many there were when last seen. */
  #seen = new Map();
  /** @type {Map<number, number>} By interval. */
  #bars = new Map();
  #isFirst = true;
  total = 0;

  /**
   * @param {readonly import("./api.js").Session[]} sessions
   * @param {number} nowMs
   */
  add(sessions, nowMs) {
    const slot = Math.floor(nowMs / ReconnectionHistory.INTERVAL_MS);
    let fresh = 0;
    /** @type {Map<string, number>} */
    const seen = new Map();
    for (const session of sessions) {
      const key = `${session.runId} ${session.clientId}`;
      const before = this.#seen.get(key);
      seen.set(key, session.reconnections);
      // A server that restarted counts from 0 again; a session that is new on this page adds its earlier reconnections only once.
      if (before !== undefined) fresh += Math.max(0, session.reconnections - before);
      else if (!this.#isFirst) fresh += session.reconnections;
    }
    // Sessions that are not among those shown keep their count, up to a bound.
    for (const [key, count] of this.#seen) if (!seen.has(key) && seen.size < 20_000) seen.set(key, count);
    this.#seen = seen;
    this.#isFirst = false;
    this.total += fresh;
    this.#bars.set(slot, (this.#bars.get(slot) ?? 0) + fresh);
    for (const old of this.#bars.keys()) if (old <= slot - ReconnectionHistory.BARS) this.#bars.delete(old);
  }

  /**
   * Oldest first.
   * @param {number} nowMs
   * @returns {number[]}
   */
  bars(nowMs) {
    const slot = Math.floor(nowMs / ReconnectionHistory.INTERVAL_MS);
    return Array.from({ length: ReconnectionHistory.BARS }, (_, index) => this.#bars.get(slot - ReconnectionHistory.BARS + 1 + index) ?? 0);
  }
}

/**
 * @param {HTMLElement} parent
 * @param {number[]} bars
 */
export function drawBars(parent, bars) {
  const top = Math.max(4, ...bars);
  const [width, height] = [600, 100];
  const step = width / bars.length;
  let svg = parent.querySelector("svg");
  if (svg === null) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    for (const y of [0, height / 2, height]) svg.append(shape("line", { class: "axis", x1: 0, x2: width, y1: y, y2: y }));
    bars.forEach((_, index) => svg?.append(shape("rect", { class: "bar", x: index * step + step * 0.12, width: step * 0.76, y: height, height: 0 })));
    parent.append(svg, make("p", { class: "ticks" }, make("span", {}, "10 min ago"), make("span", { class: "scale" }), make("span", {}, "now")));
  }
  const rectangles = svg.querySelectorAll("rect");
  bars.forEach((value, index) => {
    const barHeight = (value / top) * height;
    rectangles[index]?.setAttribute("y", String(height - barHeight));
    rectangles[index]?.setAttribute("height", String(barHeight));
  });
  const total = bars.reduce((sum, value) => sum + value, 0);
  svg.setAttribute("aria-label", `${counted(total, "reconnection")} in the last ten minutes, at most ${Math.max(...bars)} in five seconds`);
  const label = parent.querySelector(".scale");
  if (label) write(label, `full height: ${top} in 5 s`);
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
}
