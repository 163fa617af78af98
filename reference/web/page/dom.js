// @ts-check
/** Small functions for pages: elements from text only, and nothing drawn more often than eyes can follow. */

/**
 * The element of that id, which the page has.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {{new (): T}} [kind]
 * @returns {T}
 */
export function byId(id, kind) {
  const node = document.getElementById(id);
  if (node === null || (kind !== undefined && !(node instanceof kind))) throw new Error(`the page has no such element: ${id}`);
  return /** @type {T} */ (node);
}

/**
 * An element with attributes, and children that are nodes or texts; a text is never read as markup.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * Set a text only if it differs, so that live regions and selections stay undisturbed.
 * @param {Node} node
 * @param {string} text
 */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * `draw` at most once in `intervalMs`, and always once more after the last call.
 * @param {() => void} draw
 * @param {number} [intervalMs]
 * @returns {() => void}
 */
export function paced(draw, intervalMs = 100) {
  let dueAt = -Infinity;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const run = () => {
    timer = undefined;
    dueAt = performance.now() + intervalMs;
    draw();
  };
  return () => {
    if (timer !== undefined) return;
    const waitMs = dueAt - performance.now();
    if (waitMs <= 0) run();
    else timer = setTimeout(run, waitMs);
  };
}

/**
 * Make the children of `parent` those of `keys`, in that order; what is there already is kept, so that focus and selection are.
 * @template {string} K
 * @param {HTMLElement} parent
 * @param {readonly K[]} keys
 * @param {(key: K) => HTMLElement} create
 * @param {(node: HTMLElement, key: K) => void} update
 */
export function reconcile(parent, keys, create, update) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of parent.children) if (child instanceof HTMLElement) old.set(child.dataset.key ?? "", child);
  let next = parent.firstElementChild;
  for (const key of keys) {
    let node = old.get(key);
    if (node === undefined) {
      node = create(key);
      node.dataset.key = key;
    }
    old.delete(key);
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
    update(node, key);
  }
  for (const node of old.values()) node.remove();
}

/**
 * The theme that a `<select>` chooses: remembered, and applied to the root and to health components.
 * @param {HTMLSelectElement} select
 */
export function followTheme(select) {
  const apply = () => {
    if (select.value) document.documentElement.dataset.theme = select.value;
    else delete document.documentElement.dataset.theme;
    for (const element of document.querySelectorAll("connection-health")) {
      if (select.value) element.setAttribute("theme", select.value);
      else element.removeAttribute("theme");
    }
  };
  select.value = remembered("theme") ?? "";
  if (select.selectedIndex < 0) select.value = "";
  select.addEventListener("change", () => {
    remember("theme", select.value);
    apply();
  });
  apply();
}

/**
 * A value that this browser keeps; null if it has none, or keeps nothing.
 * @param {string} name
 * @returns {string | null}
 */
export function remembered(name) {
  try {
    return localStorage.getItem(`steadywire.${name}`);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`steadywire.${name}`, value);
  } catch {
    // A browser that keeps nothing: the page works without.
  }
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 * @returns {string}
 */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}
