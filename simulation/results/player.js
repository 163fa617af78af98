// @ts-check
/**
 * The player: a recorded run, shown over its own time. An anywidget.
 *
 * Rows from top to bottom: the server, then the clients. Time goes from left to right, and the present is one line. A row's
 * colour shows the client's transport, hatching a fault of its network, and the steps below how much it has queued. An event is a
 * line from its publish, over the server, to each client that got it, drawn as far as it has come.
 *
 * The numbers are also text, beside the rows and in the sentence below, for readers who do not see the drawing.
 */

/**
 * @typedef {[number, string]} Step Since when, in s, and what.
 * @typedef {[number, number, string]} Stretch From, to, and what.
 * @typedef {object} Client
 * @property {string} name
 * @property {Step[]} states
 * @property {[number, number][]} queue
 * @property {Stretch[]} faults
 * @typedef {[number, number, string, number | null, [number, number][], number | null]} Message Published at, by which client, the type,
 *     accepted at, the clients that got it with the times, and when it was given up.
 * @typedef {object} Picture
 * @property {number} duration In s.
 * @property {Client[]} clients
 * @property {Stretch[]} down When no server ran.
 * @property {Stretch[]} everybody Faults that hit all clients.
 * @property {Message[]} messages
 * @property {string} note What is left out, if anything is.
 */

const ROW_PX = 34;
const TOP_PX = 22;
const LABELS_PX = 200;
const NARROW_LABELS_PX = 112;
const NARROW_BELOW_PX = 560;
const TICK_PX_MIN = 56;
const SYNC_MS = 250;
const STATE_WORDS = /** @type {Readonly<Record<string, string>>} */ ({
  away: "not here yet",
  live: "WebSocket",
  polling: "HTTP polling",
  down: "disconnected",
  over: "ended",
});
const COLOURS = {
  light: { live: "#cfead9", polling: "#f7e2b5", down: "#f6cdd1", away: "#f0f2f5", over: "#e3e6ea", ink: "#1b2430", soft: "#566173", line: "#c9d0d9", event: "#1668b8", fault: "#8a3f4a", ground: "#ffffff" },
  dark: { live: "#1d4a35", polling: "#574316", down: "#5c2830", away: "#1d222b", over: "#262b34", ink: "#e7ebf1", soft: "#9aa6b8", line: "#3a424f", event: "#7dbdf7", fault: "#ff9aa1", ground: "#171b22" },
};
const STYLE = `
.sw-player { font: 14px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: var(--ground);
  border: 1px solid var(--line); border-radius: 12px; padding: 12px 14px; box-sizing: border-box; }
.sw-player * { box-sizing: border-box; margin: 0; }
.sw-player .controls { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; }
.sw-player button, .sw-player select { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line); border-radius: 8px; min-height: 32px; padding: 2px 12px; }
.sw-player button { min-width: 72px; cursor: pointer; }
.sw-player :focus-visible { outline: 2px solid var(--event); outline-offset: 2px; }
.sw-player .seek { flex: 1 1 200px; display: flex; align-items: center; gap: 10px; }
.sw-player input[type="range"] { flex: 1; min-width: 80px; accent-color: var(--event); }
.sw-player output { font-variant-numeric: tabular-nums; min-width: 120px; text-align: right; }
.sw-player label { display: inline-flex; gap: 6px; align-items: center; color: var(--soft); }
.sw-player .rows { display: grid; grid-template-columns: ${LABELS_PX}px minmax(0, 1fr); margin-top: 10px; max-height: 520px; overflow: auto; }
.sw-player ul { list-style: none; padding: ${TOP_PX}px 0 0; }
.sw-player li { height: ${ROW_PX}px; display: grid; grid-template-columns: 1fr auto; column-gap: 8px; align-content: center; padding-right: 12px; font-size: 12px; line-height: 1.25; }
.sw-player li b { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-weight: 600; }
.sw-player li span { color: var(--soft); white-space: nowrap; }
.sw-player li .queue { font-variant-numeric: tabular-nums; grid-row: 1 / 3; grid-column: 2; align-self: center; min-width: 64px; text-align: right; }
.sw-player .rows.narrow { grid-template-columns: ${NARROW_LABELS_PX}px minmax(0, 1fr); }
.sw-player .narrow li { padding-right: 8px; }
.sw-player .narrow li .queue { min-width: 0; }
.sw-player .narrow li .state { overflow: hidden; text-overflow: ellipsis; }
.sw-player canvas { display: block; width: 100%; }
.sw-player .said { min-height: 2.8em; margin-top: 8px; }
.sw-player .soft { color: var(--soft); font-size: 12px; }
.sw-player .legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 4px; }
.sw-player .legend i { display: inline-block; width: 14px; height: 10px; border-radius: 3px; margin-right: 6px; border: 1px solid var(--line); }
`;

/**
 * The value that holds at a time: the last one at or before it.
 * @template T
 * @param {readonly [number, T][]} steps Ascending.
 * @param {number} at
 * @param {T} before
 * @returns {T}
 */
export function valueAt(steps, at, before) {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (/** @type {[number, T]} */ (steps[middle])[0] <= at) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? before : /** @type {[number, T]} */ (steps[low - 1])[1];
}

/**
 * How many events are on their way at a time: published and not yet with everybody who gets them.
 * @param {Picture} picture
 * @param {number} at
 * @returns {number}
 */
export function inFlightAt(picture, at) {
  return picture.messages.filter((message) => message[0] <= at && at < endOf(message, picture.duration)).length;
}

/**
 * @param {Message} message
 * @param {number} duration
 * @returns {number}
 */
function endOf([, , , accepted, delivered, failed], duration) {
  if (failed !== null) return failed;
  const last = delivered.at(-1);
  return last ? Math.max(last[1], accepted ?? 0) : (accepted ?? duration);
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {...(Node | string)} children
 * @returns {any}
 */
function html(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/**
 * @param {string} text
 * @param {[string, string][]} options
 * @param {string} chosen
 */
function choice(text, options, chosen) {
  const select = html("select", "");
  for (const [value, name] of options) {
    const option = html("option", "", name);
    option.value = value;
    select.append(option);
  }
  select.value = chosen;
  return { label: html("label", "", text, select), select };
}

/** Draws one picture, and plays it. */
class Player {
  /**
   * @param {HTMLElement} el
   * @param {Picture} picture
   * @param {(name: string, value: unknown) => void} send Sets a value of the widget on the Python side.
   */
  constructor(el, picture, send) {
    this.picture = picture;
    this.send = send;
    this.time = 0;
    this.isPlaying = false;
    this.lastFrame = 0;
    this.lastSent = 0;
    this.frame = 0;
    this.box = html("div", "sw-player");
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-label", "Player of a simulated run");
    this.play = html("button", "", "Play");
    this.play.type = "button";
    this.play.addEventListener("click", () => this.setPlaying(!this.isPlaying));
    this.slider = html("input", "");
    Object.assign(this.slider, { type: "range", min: "0", max: String(picture.duration), step: "any", value: "0" });
    this.slider.setAttribute("aria-label", "Time in the run");
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value), true));
    this.slider.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.clock = html("output", "");
    const speeds = [["0.1", "0.1\u00d7"], ["0.5", "0.5\u00d7"], ["1", "1\u00d7"], ["2", "2\u00d7"], ["5", "5\u00d7"], ["20", "20\u00d7"]];
    const speed = choice("Speed", /** @type {[string, string][]} */ (speeds), "1");
    this.speed = speed.select;
    this.speed.addEventListener("change", () => this.send("speed", Number(this.speed.value)));
    const widths = [["1", "1 s"], ["5", "5 s"], ["20", "20 s"], ["60", "60 s"], ["all", "Whole run"]];
    const shown = picture.duration <= 20 ? "all" : "20";
    const width = choice("Show", /** @type {[string, string][]} */ (widths), shown);
    this.width = width.select;
    this.width.addEventListener("change", () => this.draw());
    this.labels = html("ul", "");
    for (const name of ["server", ...picture.clients.map((client) => client.name)]) {
      this.labels.append(html("li", "", html("b", "", name), html("span", "queue"), html("span", "state")));
    }
    this.canvas = html("canvas", "");
    this.canvas.setAttribute("aria-hidden", "true");
    this.said = html("p", "said");
    const legend = html("p", "legend soft");
    this.swatches = ["live", "polling", "down", "away"].map((kind) => ({ kind, node: html("i", "") }));
    for (const { kind, node } of this.swatches) legend.append(html("span", "", node, STATE_WORDS[kind] ?? kind));
    this.hatch = html("i", "");
    legend.append(html("span", "", this.hatch, "fault"), "lines: events on their way; steps: queued events");
    const rows = html("div", "rows", this.labels, this.canvas);
    rows.tabIndex = 0;
    rows.setAttribute("role", "region");
    rows.setAttribute("aria-label", "Server and clients");
    this.box.append(html("div", "controls", this.play, html("div", "seek", this.slider, this.clock), speed.label, width.label), rows, this.said, legend);
    if (picture.note) this.box.append(html("p", "soft", picture.note));
    el.append(this.box);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas.parentElement);
    // A notebook takes cells that are far away out of the document; what changed meanwhile is drawn when they are back.
    this.seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.draw());
    this.seen.observe(this.box);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.scheme.addEventListener("change", this.redraw);
    this.themes = new MutationObserver(this.redraw);
    this.themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    this.draw();
  }

  dispose() {
    cancelAnimationFrame(this.frame);
    this.isPlaying = false;
    this.observer.disconnect();
    this.seen.disconnect();
    this.themes.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const steps = /** @type {Record<string, number>} */ ({ ArrowLeft: -0.1, ArrowRight: 0.1, PageDown: -1, PageUp: 1 });
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.seek(this.time + step, true);
  }

  /** @param {boolean} isPlaying */
  setPlaying(isPlaying) {
    if (isPlaying === this.isPlaying) return;
    if (isPlaying && this.time >= this.picture.duration) this.time = 0;
    this.isPlaying = isPlaying;
    this.play.textContent = isPlaying ? "Pause" : "Play";
    this.send("is_playing", isPlaying);
    if (!isPlaying) return this.seek(this.time, true);
    this.lastFrame = performance.now();
    const next = (/** @type {number} */ now) => {
      if (!this.isPlaying) return;
      this.seek(this.time + ((now - this.lastFrame) / 1000) * Number(this.speed.value), false);
      this.lastFrame = now;
      if (this.time >= this.picture.duration) return this.setPlaying(false);
      this.frame = requestAnimationFrame(next);
    };
    this.frame = requestAnimationFrame(next);
  }

  /**
   * @param {number} time
   * @param {boolean} isChosen By a person: sent to the Python side at once.
   */
  seek(time, isChosen) {
    this.time = Math.min(Math.max(time, 0), this.picture.duration);
    const now = performance.now();
    if (isChosen || now - this.lastSent > SYNC_MS) {
      this.lastSent = now;
      this.send("time_s", this.time);
    }
    this.draw();
  }

  /** @returns {"light" | "dark"} */
  theme() {
    const isLight = document.body.dataset.jpThemeLight;
    if (isLight !== undefined) return isLight === "false" ? "dark" : "light";
    return this.scheme.matches ? "dark" : "light";
  }

  /** The stretch of time that is shown. */
  window() {
    const { duration } = this.picture;
    const width = this.width.value === "all" ? duration : Math.min(duration, Number(this.width.value));
    const start = Math.min(Math.max(this.time - width * 0.7, 0), duration - width);
    return { start, width };
  }

  draw() {
    const { picture, time } = this;
    const colours = COLOURS[this.theme()];
    for (const name of /** @type {const} */ (["ink", "soft", "line", "event", "ground"])) this.box.style.setProperty(`--${name}`, colours[name]);
    for (const { kind, node } of this.swatches) node.style.background = colours[/** @type {"live"} */ (kind)];
    this.hatch.style.background = `repeating-linear-gradient(45deg, transparent 0 3px, ${colours.fault} 3px 4px)`;
    this.slider.value = String(time);
    const clock = `${time.toFixed(2)} of ${picture.duration.toFixed(1)} s`;
    this.clock.textContent = clock;
    this.slider.setAttribute("aria-valuetext", `${time.toFixed(1)} seconds`);
    this.#drawLabels();
    this.#drawCanvas(colours);
  }

  #drawLabels() {
    const { picture, time } = this;
    const isDown = picture.down.some(([from, to]) => from <= time && time < to);
    const counts = /** @type {Record<string, number>} */ ({});
    [...this.labels.children].forEach((item, index) => {
      const [, queue, state] = item.children;
      const client = picture.clients[index - 1];
      const kind = client === undefined ? "" : valueAt(client.states, time, "away");
      const word = client === undefined ? (isDown ? "down" : "up") : (STATE_WORDS[kind] ?? kind);
      const fault = client?.faults.find(([from, to]) => from <= time && time < to)?.[2];
      const text = fault ? `${word}, ${fault}` : word;
      if (state.textContent !== text) state.textContent = text;
      const length = client === undefined ? 0 : valueAt(client.queue, time, 0);
      const queued = length ? `${length} queued` : "";
      if (queue.textContent !== queued) queue.textContent = queued;
      if (client !== undefined) counts[kind] = (counts[kind] ?? 0) + 1;
    });
    const parts = Object.entries(counts).map(([kind, count]) => `${count} ${STATE_WORDS[kind] ?? kind}`);
    const faults = picture.everybody.filter(([from, to]) => from <= time && time < to).map(([, , what]) => what);
    const flying = inFlightAt(picture, time);
    this.said.textContent = `At ${time.toFixed(1)} s: server ${isDown ? "down" : "up"}; clients: ${parts.join(", ") || "none"}; ${flying} events on their way.${faults.length ? ` Everybody: ${faults.join(", ")}.` : ""}`;
  }

  /** @param {typeof COLOURS["light"]} colours */
  #drawCanvas(colours) {
    const { picture, time, canvas } = this;
    const rows = canvas.parentElement;
    if (rows.clientWidth === 0) return; // not to be seen now
    const isNarrow = rows.clientWidth < NARROW_BELOW_PX;
    rows.classList.toggle("narrow", isNarrow);
    const width = Math.max(50, rows.clientWidth - (isNarrow ? NARROW_LABELS_PX : LABELS_PX));
    const height = TOP_PX + ROW_PX * (picture.clients.length + 1);
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    if (context === null) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const shown = this.window();
    const x = (/** @type {number} */ at) => ((at - shown.start) / shown.width) * width;
    const y = (/** @type {number} */ row) => TOP_PX + ROW_PX * (row + 1.5);
    const bar = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ row, /** @type {string} */ colour) => {
      context.fillStyle = colour;
      context.fillRect(x(from), TOP_PX + ROW_PX * (row + 1) + 3, x(to) - x(from), ROW_PX - 6);
    };
    const end = shown.start + shown.width;
    const overlaps = (/** @type {number} */ from, /** @type {number} */ to) => to >= shown.start && from <= end;
    // Bands: what carries each client, and when there was a server.
    bar(shown.start, end, -1, colours.live);
    for (const [from, to] of picture.down) if (overlaps(from, to)) bar(from, to, -1, colours.down);
    picture.clients.forEach((client, index) => {
      bar(shown.start, end, index, colours.away);
      client.states.forEach(([from, kind], place) => {
        const to = client.states[place + 1]?.[0] ?? picture.duration;
        if (overlaps(from, to)) bar(from, to, index, colours[/** @type {"live"} */ (kind)] ?? colours.away);
      });
      const stretches = [...client.faults, ...picture.everybody];
      for (const [from, to] of stretches) if (overlaps(from, to)) this.#hatchOver(context, x(from), Math.max(x(to), x(from) + 3), index, colours.fault);
      this.#drawQueue(context, client, index, x, shown, colours);
    });
    // Time.
    context.fillStyle = colours.soft;
    context.font = "11px system-ui, sans-serif";
    const ticks = Math.min(8, Math.max(1, width / TICK_PX_MIN));
    const step = tickStep(shown.width, ticks);
    for (let at = Math.ceil(shown.start / step) * step; at <= end; at += step) {
      context.fillRect(x(at), TOP_PX - 4, 1, 4);
      context.fillText(`${Number(at.toFixed(3))} s`, Math.min(x(at) + 2, width - 34), TOP_PX - 8);
    }
    this.#drawMessages(context, x, y, shown, colours);
    context.strokeStyle = colours.ink;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(x(time), TOP_PX - 6);
    context.lineTo(x(time), height);
    context.stroke();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} from
   * @param {number} to
   * @param {number} row
   * @param {string} colour
   */
  #hatchOver(context, from, to, row, colour) {
    const top = TOP_PX + ROW_PX * (row + 1) + 3;
    const height = ROW_PX - 6;
    const [left, right] = [Math.max(from, -20), Math.min(to, context.canvas.width)];
    context.save();
    context.beginPath();
    context.rect(left, top, right - left, height);
    context.clip();
    context.strokeStyle = colour;
    context.globalAlpha = 0.55;
    context.lineWidth = 1;
    for (let at = left - height; at < right; at += 6) {
      context.beginPath();
      context.moveTo(at, top + height);
      context.lineTo(at + height, top);
      context.stroke();
    }
    context.restore();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Client} client
   * @param {number} index
   * @param {(at: number) => number} x
   * @param {{start: number, width: number}} shown
   * @param {typeof COLOURS["light"]} colours
   */
  #drawQueue(context, client, index, x, shown, colours) {
    const highest = Math.max(1, ...client.queue.map(([, length]) => length));
    const bottom = TOP_PX + ROW_PX * (index + 2) - 3;
    context.fillStyle = colours.soft;
    context.globalAlpha = 0.55;
    client.queue.forEach(([from, length], place) => {
      const to = Math.min(client.queue[place + 1]?.[0] ?? this.picture.duration, this.time);
      if (length === 0 || to <= from || to < shown.start || from > shown.start + shown.width) return;
      const height = (length / highest) * (ROW_PX / 2 - 4);
      context.fillRect(x(from), bottom - height, Math.max(1, x(to) - x(from)), height);
    });
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {(at: number) => number} x
   * @param {(row: number) => number} y
   * @param {{start: number, width: number}} shown
   * @param {typeof COLOURS["light"]} colours
   */
  #drawMessages(context, x, y, shown, colours) {
    const { picture, time } = this;
    context.strokeStyle = context.fillStyle = colours.event;
    context.lineWidth = 1.25;
    for (const message of picture.messages) {
      const [published, sender, , accepted, delivered] = message;
      const over = endOf(message, picture.duration);
      if (published > time || over < shown.start) continue;
      const isFlying = time < over;
      context.globalAlpha = isFlying ? 0.9 : 0.16;
      leg(published, sender, accepted ?? time, -1, accepted !== null);
      if (accepted !== null && accepted <= time) for (const [reader, at] of delivered) leg(accepted, -1, at, reader, true);
      context.globalAlpha = isFlying ? 1 : 0.4;
      dot(x(published), y(sender));
    }
    context.globalAlpha = 1;

    /**
     * An event on its way to the server or from it, as far as it has come.
     * @param {number} from @param {number} row @param {number} to @param {number} target @param {boolean} isKnown
     */
    function leg(from, row, to, target, isKnown) {
      const done = to > from ? Math.min(1, (time - from) / (to - from)) : 1;
      const [endX, endY] = [x(from) + (x(to) - x(from)) * done, isKnown ? y(row) + (y(target) - y(row)) * done : y(row)];
      context.beginPath();
      context.moveTo(x(from), y(row));
      context.lineTo(endX, endY);
      context.stroke();
      if (done < 1) dot(endX, endY);
    }

    /** @param {number} atX @param {number} atY */
    function dot(atX, atY) {
      context.beginPath();
      context.arc(atX, atY, 2.5, 0, 2 * Math.PI);
      context.fill();
    }
  }
}

/**
 * A round step for at most so many ticks.
 * @param {number} width
 * @param {number} ticks
 * @returns {number}
 */
export function tickStep(width, ticks) {
  const rough = width / ticks;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? 10 * power;
}

/** @type {CSSStyleSheet | undefined} */
let sheet;

/**
 * Put the style where the element is: some notebooks put each output into a shadow root.
 * @param {HTMLElement} el
 */
function dress(el) {
  if (sheet === undefined) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
  }
  const root = el.getRootNode();
  const where = root instanceof ShadowRoot ? root : document;
  if (!where.adoptedStyleSheets.includes(sheet)) where.adoptedStyleSheets = [...where.adoptedStyleSheets, sheet];
}

export default {
  /** @param {{model: any, el: HTMLElement}} context */
  render({ model, el }) {
    dress(el);
    let isOurs = false;
    const player = new Player(el, model.get("picture"), (name, value) => {
      isOurs = true;
      model.set(name, value);
      model.save_changes();
      isOurs = false;
    });
    const follow = () => {
      if (isOurs) return;
      if (Math.abs(model.get("time_s") - player.time) > 1e-9 && !player.isPlaying) player.seek(model.get("time_s"), false);
      player.speed.value = String(model.get("speed"));
      player.setPlaying(model.get("is_playing"));
    };
    player.speed.value = String(model.get("speed"));
    player.seek(model.get("time_s"), false);
    player.setPlaying(model.get("is_playing"));
    for (const name of ["time_s", "speed", "is_playing"]) model.on(`change:${name}`, follow);
    return () => {
      for (const name of ["time_s", "speed", "is_playing"]) model.off(`change:${name}`, follow);
      player.dispose();
    };
  },
};
