/** Timers for a hidden page: `{ id, ms }` sets one, `{ id, ms: null }` clears it, and its id comes back when it rings. */

/** @type {Map<number, ReturnType<typeof setTimeout>>} */
const timers = new Map();

self.onmessage = (/** @type {MessageEvent<{ id: number, ms: number | null }>} */ { data: { id, ms } }) => {
  clearTimeout(timers.get(id));
  timers.delete(id);
  if (ms === null) return;
  const ring = () => {
    timers.delete(id);
    self.postMessage(id);
  };
  timers.set(id, setTimeout(ring, ms));
};
