/** The state of a connection as signals, for user interfaces: `connectionHealth`, `queuedMessageCount`, `usingFallback`. */

import { signal } from "./signal.js";

/**
 * @typedef {import("./connection_health.js").Health} Health
 * @typedef {import("./run_client.js").RunClient} RunClient
 */

/** One store watches one client at a time. */
export class ConnectionStore {
  /** @type {(() => void) | null} */
  #stop = null;
  /** @type {import("./signal.js").Signal<Health | null>} null: no client */
  connectionHealth = signal(/** @type {Health | null} */ (null));
  queuedMessageCount = signal(0);
  usingFallback = signal(false);

  /** @param {RunClient} [client] */
  constructor(client) {
    if (client !== undefined) this.attach(client);
  }

  /**
   * Watch this client instead of the present one.
   *
   * @param {RunClient} client
   */
  attach(client) {
    this.detach();
    const count = () => {
      this.queuedMessageCount.value = client.getQueuedMessageCount();
    };
    const carry = () => {
      this.usingFallback.value = client.isUsingFallback();
    };
    count();
    carry();
    client.addEventListener("queuechange", count);
    client.addEventListener("statechange", carry);
    const stopHealth = client.health.subscribe((health) => {
      this.connectionHealth.value = health;
    });
    this.#stop = () => {
      stopHealth();
      client.removeEventListener("queuechange", count);
      client.removeEventListener("statechange", carry);
    };
  }

  /** Watch no client. */
  detach() {
    this.#stop?.();
    this.#stop = null;
    this.connectionHealth.value = null;
    this.queuedMessageCount.value = 0;
    this.usingFallback.value = false;
  }
}
