/** Signals: a value with subscribers. No dependency, no scheduler. */

/**
 * @template T
 * @typedef {object} ReadonlySignal
 * @property {T} value
 * @property {(listener: (value: T) => void) => () => void} subscribe calls the listener now and after each change; returns how to stop
 */

/**
 * @template T
 * @typedef {{ value: T, subscribe: ReadonlySignal<T>["subscribe"] }} Signal
 */

/**
 * A value that calls its listeners when it is set to a different one (`Object.is`). When a listener throws, the others are
 * still called, and the error is reported as uncaught.
 *
 * @template T
 * @param {T} initial
 * @returns {Signal<T>}
 */
export function signal(initial) {
  let current = initial;
  /** @type {Set<{ listener: (value: T) => void }>} */
  const listeners = new Set();
  return {
    get value() {
      return current;
    },
    set value(next) {
      if (Object.is(next, current)) return;
      current = next;
      for (const each of [...listeners]) if (listeners.has(each)) call(each.listener, current);
    },
    subscribe(listener) {
      const entry = { listener }; // the same function may subscribe twice
      listeners.add(entry);
      call(listener, current);
      return () => {
        listeners.delete(entry);
      };
    },
  };
}

/**
 * @template T
 * @param {(value: T) => void} listener
 * @param {T} value
 */
function call(listener, value) {
  try {
    listener(value);
  } catch (error) {
    reportLater(error);
  }
}

/**
 * Report an application's error as uncaught, without affecting the caller.
 *
 * @param {unknown} error
 */
export function reportLater(error) {
  queueMicrotask(() => {
    throw error;
  });
}
