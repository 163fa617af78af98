/** What the tests of the driver share: a real server in a process of its own, a way to it that can be cut, and a disk that can be copied. */

import { spawn } from "node:child_process";
import { createConnection, createServer } from "node:net";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { RunClient } from "../../../reference/web/index.js";

const LISTENS = /listens on (http:\/\/\S+)/;
const MAIN = "from simulation.cli import main; main()";

/** Fast, so that a test takes no longer than it has to. */
export const QUICK = {
  connectTimeoutS: 5,
  pingIntervalS: 1,
  pingTimeoutS: 1,
  steadyAfterS: 0.3,
  firstSpreadS: 0.05,
  tailTimeoutS: 1,
  fallbackAfterFailures: 2,
  pollIntervalS: 0.1,
  probeIntervalS: 0.3,
  probeIntervalMaxS: 0.6,
};

/** A server; `port` 0: a free one. */
export async function startServer({ port = 0, store = "memory:", more = [] } = {}) {
  const child = spawn(process.env.PYTHON ?? "python", ["-c", MAIN, "serve", "--port", String(port), "--store", store, ...more], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (data) => (log += data));
  for await (const line of createInterface({ input: child.stdout })) {
    const url = LISTENS.exec(line)?.[1];
    if (url !== undefined) {
      child.stdout.resume();
      return { url, port: Number(new URL(url).port), kill: () => end(child, "SIGKILL"), stop: () => end(child, "SIGTERM") };
    }
  }
  throw new Error(`the server did not start: ${log}`);
}

async function end(child, signal) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await once(child, "exit");
}

const ways = [];

/** A TCP proxy in front of a port. It can cut what is open, refuse what is new, and refuse upgrades. */
export class Way {
  #sockets = new Set();
  #server;
  isCut = false;
  blocksUpgrades = false;

  static async to(port) {
    const way = new Way(port);
    ways.push(way);
    await once(way.#server.listen(0, "127.0.0.1"), "listening");
    return way;
  }

  constructor(port) {
    this.#server = createServer((socket) => this.#accept(socket, port));
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  restore() {
    this.isCut = false;
  }

  blockUpgrades() {
    this.blocksUpgrades = true;
    for (const socket of this.#sockets) if (socket.isUpgrade) socket.resetAndDestroy();
  }

  close() {
    this.cut();
    this.#server.close(() => {});
  }

  #accept(socket, port) {
    if (this.isCut) {
      socket.resetAndDestroy();
      return;
    }
    const onward = createConnection(port, "127.0.0.1");
    for (const each of [socket, onward]) {
      this.#sockets.add(each);
      each.on("error", () => {});
      each.on("close", () => {
        this.#sockets.delete(each);
        (each === socket ? onward : socket).destroy();
      });
    }
    socket.on("data", (data) => {
      if (/^upgrade: websocket/im.test(data.toString("latin1").slice(0, 2000))) {
        socket.isUpgrade = onward.isUpgrade = true;
        if (this.blocksUpgrades) return socket.resetAndDestroy();
      }
      onward.write(data);
    });
    onward.on("data", (data) => socket.write(data));
  }
}

/** A disk for identities: each save takes a moment, a copy is the disk of a page that was killed at this instant. */
export class Disk {
  slots;
  failures = new Map(); // of all slots of one key: these tests have one
  #owned = new Set();
  #held = null;
  #letGo = () => {};
  #saved = new Map(); // until everything is that was to be saved to a slot
  saves = 0;
  delayMs = 0;
  failsFrom = Infinity;
  retaking = null; // what the storage does when a page that was left wants its identity again
  clearFails = false;

  constructor(slots = new Map()) {
    this.slots = slots;
  }

  /** Let nothing more be stored. */
  hold() {
    this.#held ??= new Promise((resolve) => (this.#letGo = resolve));
  }

  /** Store what was held. */
  letGo() {
    this.#letGo();
    this.#held = null;
  }

  /** How many messages are on it. */
  get messages() {
    return [...this.slots.values()].reduce((sum, { messages }) => sum + messages.size, 0);
  }

  copy() {
    const copy = new Disk(structuredClone(this.slots));
    copy.failures = structuredClone(this.failures);
    return copy;
  }

  async acquire(key) {
    const slot = [0, 1, 2, 3].map((n) => `${key}#${n}`).find((each) => !this.#owned.has(each));
    this.#owned.add(slot);
    const disk = this;
    let saving = Promise.resolve();
    return {
      isKept: true,
      async load() {
        await disk.#saved.get(slot);
        const kept = disk.slots.get(slot);
        return kept === undefined ? null : structuredClone({ ...kept, messages: [...kept.messages.values()] });
      },
      async loadFailures() {
        await disk.#saved.get(slot);
        return [...disk.failures.values()];
      },
      save(changes) {
        const saved = saving.then(() => this.store(changes));
        saving = saved.catch(() => {});
        disk.#saved.set(slot, saving);
        return saved;
      },
      async store({ identity, position, put, removed, failures, dismissed }) {
        await new Promise((resolve) => setTimeout(resolve, disk.delayMs));
        await disk.#held;
        disk.saves += 1;
        if (disk.saves >= disk.failsFrom) throw new Error("the disk is full");
        const kept = disk.slots.get(slot) ?? { identity: null, position: null, messages: new Map() };
        disk.slots.set(slot, kept);
        if (identity !== null) kept.identity = structuredClone(identity);
        if (position !== null) kept.position = structuredClone(position);
        for (const ticket of removed) kept.messages.delete(ticket);
        for (const message of put) kept.messages.set(message.ticket, structuredClone(message));
        for (const failure of failures) disk.failures.set(failure.id, structuredClone(failure));
        for (const id of dismissed) disk.failures.delete(id);
      },
      async clear() {
        if (disk.clearFails) throw new Error("the disk is gone");
        disk.slots.delete(slot);
      },
      async release() {
        disk.#owned.delete(slot);
      },
      async retake() {
        if (disk.retaking !== null) return disk.retaking();
        if (disk.#owned.has(slot)) return false;
        disk.#owned.add(slot);
        return true;
      },
    };
  }
}

const made = [];

/** A client of that user, with quick settings. It is closed at the end of its test. */
export function clientOf(user, runId, url, options = {}) {
  const client = new RunClient(runId, { url, token: `dev:${user}`, storage: "memory", ...options, config: { ...QUICK, ...options.config } });
  made.push(client);
  return client;
}

/** After each test: a test that fails must not keep its process alive. */
export function closeAll() {
  for (const client of made.splice(0)) client.close();
  for (const way of ways.splice(0)) way.close();
}

/** Resolves when `condition()` is true; it is asked after each thing that the client tells. */
export function until(client, condition, what = String(condition)) {
  return new Promise((resolve, reject) => {
    const types = ["event", "snapshot", "reset", "accepted", "failed", "statechange", "healthchange", "queuechange", "end"];
    const late = setTimeout(() => {
      stop();
      reject(new Error(`not within 30 s: ${what}; health ${JSON.stringify(client.health.value)}`));
    }, 30_000);
    const stop = () => {
      clearTimeout(late);
      for (const type of types) client.removeEventListener(type, look);
    };
    const look = () => {
      if (!condition()) return;
      stop();
      resolve();
    };
    for (const type of types) client.addEventListener(type, look);
    look();
  });
}

/** Resolves when `condition()` is true, of something that no client tells of. */
export async function soon(condition) {
  const giveUpAt = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > giveUpAt) throw new Error(`not within 30 s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Everything that the application is given, as it comes. */
export function heard(client) {
  const events = [];
  client.addEventListener("event", ({ detail }) => detail.sequenceNumber !== null && events.push(detail));
  return events;
}

export const marksOf = (events) => events.map((event) => event.data.mark);
export const range = (n, from = 1) => Array.from({ length: n }, (_, i) => from + i);
export const graft = (mark) => ({ position: `step-${mark}`, mark });
