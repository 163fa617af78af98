// @ts-check
/** The users and events of a run, in a notebook. An anywidget; `live_run.py` has its traits. */

const STYLE = `
.sw-run { --ink: light-dark(#1b2430, #e7ebf1); --soft: light-dark(#566173, #9aa6b8); --line: light-dark(#dfe3e9, #2c323c);
  --surface: light-dark(#ffffff, #171b22); --accent: light-dark(#1668b8, #63b0f5); --bad: light-dark(#c22f3d, #ff7b84);
  color-scheme: light dark; font: 14px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: var(--surface);
  border: 1px solid var(--line); border-radius: 12px; padding: 10px 14px; margin-top: 8px; }
.sw-run[data-theme="light"] { color-scheme: light; } .sw-run[data-theme="dark"] { color-scheme: dark; }
.sw-run * { box-sizing: border-box; margin: 0; }
.sw-run p { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: baseline; min-height: 1.45em; }
.sw-run a { color: var(--accent); }
.sw-run .soft { color: var(--soft); font-size: 12px; }
.sw-run form { display: flex; flex-wrap: wrap; gap: 8px; align-items: end; margin-top: 8px; }
.sw-run label { display: grid; gap: 2px; font-size: 12px; color: var(--soft); }
.sw-run input, .sw-run button { font: inherit; font-size: 14px; color: var(--ink); background: var(--surface); border: 1px solid light-dark(#8b95a5, #5c6779); border-radius: 8px; min-height: 32px; padding: 2px 10px; }
.sw-run button { cursor: pointer; }
.sw-run button.cut { color: var(--bad); border-color: var(--bad); }
.sw-run :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.sw-run .log { height: 180px; overflow: auto; border-top: 1px solid var(--line); margin-top: 10px; padding-top: 6px; }
.sw-run ol { list-style: none; padding: 0; }
.sw-run li { display: grid; grid-template-columns: 48px 60px 1fr auto; gap: 10px; padding: 2px 0; align-items: baseline; }
.sw-run li b { font-size: 12px; } .sw-run li span { overflow-wrap: anywhere; }
.sw-run .number { color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; font-size: 12px; }
.sw-run .complaint { color: var(--bad); min-height: 1.45em; }
`;

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
 * @param {string} name
 * @param {string} value
 */
function field(name, value) {
  const input = html("input", "");
  input.value = value;
  input.maxLength = 256;
  return { label: html("label", "", name, input), input };
}

/**
 * @param {{number: number, type: string, user: string, data: Record<string, unknown>, timestamp: number}} event
 * @returns {HTMLElement}
 */
function rowOf(event) {
  const about = event.data.position ?? event.data.step ?? "";
  const text = ["text", "note", "reason", "agent"].map((name) => event.data[name]).find((value) => typeof value === "string" && value) ?? "";
  const said = `${about} ${text}`.trim() || JSON.stringify(event.data).slice(0, 200);
  const time = new Date(event.timestamp).toLocaleTimeString();
  return html("li", "", html("span", "number", String(event.number)), html("b", "", event.type), html("span", "", said), html("span", "soft", `${event.user}, ${time}`));
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
    const box = html("div", "sw-run");
    const link = html("a", "", "open its page");
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    const users = html("span", "users");
    const waiting = html("span", "soft");
    const step = field("Step", "step-1");
    const text = field("Text", "");
    const form = html("form", "", step.label, text.label);
    for (const type of ["GRAFT", "PRUNE", "FLAG"]) {
      const button = html("button", "", type.charAt(0) + type.slice(1).toLowerCase());
      button.value = type;
      form.append(button);
    }
    const cut = html("button", "", "Cut my network");
    cut.type = "button";
    form.append(cut);
    const list = html("ol", "");
    const log = html("div", "log", list);
    log.tabIndex = 0;
    log.setAttribute("role", "region");
    log.setAttribute("aria-label", "Log of the run");
    const complaint = html("p", "complaint");
    complaint.setAttribute("role", "alert");
    box.append(html("p", "", html("span", "", "Run ", html("code", "", model.get("run_id"))), link), html("p", "", html("span", "soft", "Here now:"), users, waiting), form, complaint, log);
    el.append(box);

    form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const type = event.submitter instanceof HTMLButtonElement ? event.submitter.value : "GRAFT";
      model.send({ do: "publish", type, step: step.input.value.trim() || "step-1", text: text.input.value });
      text.input.value = "";
    });
    cut.addEventListener("click", () => model.send({ do: model.get("is_cut") ? "restore" : "cut" }));

    let last = 0;
    const draw = {
      page_url: () => {
        link.href = model.get("page_url");
      },
      users: () => {
        users.textContent = model.get("users").join(", ") || "\u2013";
      },
      waiting: () => {
        const count = model.get("waiting");
        waiting.textContent = count ? `${count} waiting for the server` : "";
      },
      is_cut: () => {
        cut.textContent = model.get("is_cut") ? "Restore my network" : "Cut my network";
        cut.className = model.get("is_cut") ? "cut" : "";
      },
      complaint: () => {
        complaint.textContent = model.get("complaint");
      },
      events: () => {
        const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
        const events = model.get("events");
        if (events.length && events.at(-1).number < last) list.replaceChildren(); // a new history has begun
        const fresh = events.filter((/** @type {{number: number}} */ event) => event.number > (list.childElementCount ? last : 0));
        list.append(...fresh.map(rowOf));
        last = events.at(-1)?.number ?? 0;
        while (list.childElementCount > 100) list.firstElementChild?.remove();
        if (isAtEnd) log.scrollTop = log.scrollHeight;
      },
    };
    const theme = () => {
      const isLight = document.body.dataset.jpThemeLight;
      if (isLight === undefined) delete box.dataset.theme;
      else box.dataset.theme = isLight === "false" ? "dark" : "light";
    };
    theme();
    const themes = new MutationObserver(theme);
    themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    for (const [name, update] of Object.entries(draw)) {
      update();
      model.on(`change:${name}`, update);
    }
    return () => {
      themes.disconnect();
      for (const [name, update] of Object.entries(draw)) model.off(`change:${name}`, update);
    };
  },
};
