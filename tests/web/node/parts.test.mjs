/** The parts of the driver alone: time, alarms, signals, mailboxes, the transports against a scripted socket and fetch, and the admin page's calls. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { RunClient, createRun, signal } from "../../../reference/web/index.js";
import { AdminApi } from "../../../reference/web/admin/api.js";
import { Alarm, PageClock, SessionTime } from "../../../reference/web/client/clock.js";
import { Mailbox } from "../../../reference/web/client/mailbox.js";
import { replay } from "../../../reference/web/client/rest.js";
import { NetworkSwitch, PollingConnection, WebSocketConnection } from "../../../reference/web/client/transports.js";

/** A clock that a test moves; timers ring as it passes them, or late, as a page's do that stood still. */
class TestClock {
  mono = 1000;
  wall = 1_795_000_000_000;
  #timers = new Map();
  #next = 1;
  monotonicMs = () => this.mono;
  wallMs = () => this.wall;
  setTimer = (ms, ring) => {
    this.#timers.set(this.#next, { at: this.mono + ms, ring });
    return this.#next++;
  };
  clearTimer = (id) => this.#timers.delete(id);

  advance(ms) {
    const end = this.mono + ms;
    for (;;) {
      const [id, due] = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0] ?? [null];
      if (id === null) break;
      this.#timers.delete(id);
      this.#pass(Math.max(0, due.at - this.mono));
      due.ring();
    }
    this.#pass(end - this.mono);
  }

  /** Time passes and nothing rings. */
  standStill(ms) {
    this.#pass(ms);
  }

  sleep(ms) {
    this.wall += ms; // the monotonic clock stands
  }

  #pass(ms) {
    this.mono += ms;
    this.wall += ms;
  }
}

test("a session's time has the machine's sleep in it, and never goes back", () => {
  const clock = new TestClock();
  const time = new SessionTime(clock);
  assert.equal(time.now(), 0);
  clock.advance(1500);
  assert.equal(time.now(), 1.5e9);
  clock.sleep(3_600_000);
  assert.equal(time.now(), 3601.5e9);
  clock.wall += 3000; // somebody has set the clock a little
  assert.equal(time.now(), 3601.5e9);
  clock.wall -= 100_000;
  assert.equal(time.now(), 3601.5e9);
  clock.advance(500);
  assert.equal(time.now(), 3602e9);
  assert.equal(time.wallMsOf(3603e9), clock.wall + 1000);
  assert.equal(time.ofWallMs(clock.wall - 5000), 3597e9);
  assert.equal(time.ofWallMs(clock.wall + 5000), 3602e9, "a time to come is no age");
});

test("an alarm rings once, at the time that was set last", () => {
  const clock = new TestClock();
  const rings = [];
  const alarm = new Alarm(clock, () => rings.push(clock.mono - 1000));
  alarm.set(50);
  alarm.set(80);
  clock.advance(70);
  assert.deepEqual(rings, []);
  clock.advance(100);
  assert.deepEqual(rings, [80]);
  alarm.set(10);
  alarm.set(null);
  clock.advance(100);
  assert.deepEqual(rings, [80]);
  alarm.set(-5);
  clock.advance(0);
  assert.deepEqual(rings, [80, 270]);
});

test("without a worker a hidden page keeps its own timers", async () => {
  const clock = new PageClock();
  clock.hide(true);
  await new Promise((resolve) => clock.setTimer(1, resolve));
  clock.clearTimer(clock.setTimer(1, () => assert.fail("it was cleared")));
  clock.hide(false);
  await new Promise((resolve) => clock.setTimer(2, resolve));
});

test("a timer of a hidden page keeps its time when the page is shown", async () => {
  globalThis.Worker = class {
    postMessage() {}
    terminate() {}
  };
  try {
    const clock = new PageClock();
    clock.hide(true);
    const began = performance.now();
    const rang = new Promise((resolve) => clock.setTimer(50, resolve));
    const cleared = clock.setTimer(5, () => assert.fail("it was cleared"));
    clock.hide(false);
    clock.clearTimer(cleared);
    await rang;
    assert.ok(performance.now() - began > 45);
  } finally {
    delete globalThis.Worker;
  }
});

test("a signal tells its listeners of changes, and of nothing else", () => {
  const count = signal(1);
  const told = [];
  const stop = count.subscribe((value) => told.push(value));
  count.value = 1;
  count.value = 2;
  stop();
  count.value = 3;
  assert.deepEqual(told, [1, 2]);
  assert.equal(count.value, 3);
});

test("a mailbox keeps the latest of a user, and counts what must not be lost", async () => {
  let reads = 0;
  const mailbox = new Mailbox({ onRead: () => (reads += 1), onClose: () => {}, most: 2 });
  const event = (eventType, userId, sequenceNumber, n) => ({ kind: "event", event: { eventType, userId, timestamp: 0, sequenceNumber, data: { n }, isCritical: false } });
  mailbox.put(event("USER_JOIN", "ada", null, 0));
  mailbox.put(event("CURSOR_MOVE", "ada", null, 1));
  mailbox.put(event("CHAT", "ada", 1, 2));
  mailbox.put(event("CURSOR_MOVE", "ada", null, 3));
  mailbox.put(event("USER_LEAVE", "ada", null, 4));
  assert.equal(mailbox.isFull, false);
  mailbox.put(event("CHAT", "ada", 2, 5));
  assert.equal(mailbox.isFull, true);
  mailbox.put({ kind: "end", code: null, message: "over" });
  mailbox.put(event("CHAT", "ada", 3, 6)); // too late
  const seen = [];
  for await (const delivery of mailbox) seen.push(delivery.kind === "event" ? delivery.event.data.n : delivery.kind);
  assert.deepEqual(seen, [2, 4, 5, "end"], "the leave ends the cursor too");
  assert.equal(reads, 4);
  assert.deepEqual(await mailbox.next(), { done: true, value: undefined });
});

test("a mailbox keeps the leave of a user who returns, so that a page forgets the cursor from before", async () => {
  const mailbox = new Mailbox({ onRead: () => {}, onClose: () => {}, most: 2 });
  const event = (eventType, n) => ({ kind: "event", event: { eventType, userId: "ada", timestamp: 0, sequenceNumber: null, data: { n }, isCritical: false } });
  const moves = ["USER_JOIN", "CURSOR_MOVE", "USER_LEAVE", "USER_JOIN", "USER_LEAVE", "USER_JOIN", "CURSOR_MOVE", "CURSOR_MOVE"];
  for (const [n, eventType] of moves.entries()) mailbox.put(event(eventType, n));
  mailbox.put({ kind: "end", code: null, message: "over" });
  const seen = [];
  for await (const delivery of mailbox) seen.push(delivery.kind === "event" ? [delivery.event.eventType, delivery.event.data.n] : delivery.kind);
  assert.deepEqual(seen, [["USER_LEAVE", 4], ["USER_JOIN", 5], ["CURSOR_MOVE", 7], "end"]);
});

/** A browser's WebSocket, as far as a client sees it; the test is the server. */
class ScriptedSocket {
  static all = [];
  readyState = 0;
  sent = [];
  closed = null;
  constructor(url, protocol) {
    if (url.includes("forbidden")) throw new DOMException("the page's policy forbids it", "SecurityError");
    Object.assign(this, { url, protocol });
    ScriptedSocket.all.push(this);
  }
  static get last() {
    return ScriptedSocket.all.at(-1);
  }
  open(protocol = this.protocol) {
    this.readyState = 1;
    this.protocol = protocol;
    this.onopen();
  }
  say(frame) {
    this.onmessage({ data: typeof frame === "string" || frame instanceof ArrayBuffer ? frame : JSON.stringify(frame) });
  }
  end(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close(code, reason = "") {
    if (code !== undefined && code !== 1000 && (code < 3000 || code > 4999)) throw new DOMException("no such code", "InvalidAccessError");
    if (Buffer.byteLength(reason) > 123) throw new DOMException("too long", "SyntaxError");
    this.readyState = 2;
    this.closed = { code, reason };
  }
}

/** What a connection reports. */
function reports() {
  const told = [];
  const tell = (name) => (...args) => told.push([name, ...args.slice(1).map((each) => (each instanceof Error ? each.code : each))]);
  return Object.assign(Object.fromEntries(["opened", "lost", "arrived", "malformed", "bytesCame"].map((name) => [name, tell(name)])), { told });
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("a WebSocket reports what happens to it, later and once", async () => {
  const network = new NetworkSwitch({ WebSocket: ScriptedSocket, fetch });
  const connect = (url = "ws://x/y") => {
    const heard = reports();
    return { heard, connection: new WebSocketConnection(1, url, "dev:ada", network, heard), socket: ScriptedSocket.last };
  };
  {
    const { heard, connection, socket } = connect();
    connection.send({ type: "bye" }); // not open yet: nothing to do
    socket.open();
    connection.send({ type: "hello", protocol: 1, clientId: "c", generation: 1, token: null, sessionId: null, epoch: null, afterSequence: null, start: "snapshot" });
    assert.deepEqual(socket.sent, [{ type: "hello", protocol: 1, clientId: "c", token: "dev:ada" }]);
    socket.say({ type: "heartbeat", head: 3 });
    socket.say(new ArrayBuffer(2));
    socket.say("{");
    socket.end(4001, "the server stops");
    socket.say({ type: "heartbeat", head: 4 });
    assert.deepEqual(heard.told, [["opened"], ["arrived", { type: "heartbeat", head: 3 }], ["malformed", 4400], ["malformed", 4400], ["lost", 4001, "the server stops"]]);
  }
  for (const [code, expected] of [[1005, null], [1006, null], [1000, 1000], [4403, 4403]]) {
    const { heard, socket } = connect();
    socket.end(code);
    assert.equal(heard.told[0][1], expected);
  }
  {
    const { heard, socket } = connect();
    socket.open("");
    assert.deepEqual([heard.told.length, heard.told[0][0], socket.readyState], [1, "lost", 2], "it does not speak the subprotocol");
  }
  {
    const { heard } = connect("ws://forbidden/");
    assert.deepEqual(heard.told, []);
    await turn();
    assert.match(heard.told[0][2], /policy forbids/);
  }
  {
    const { heard, connection, socket } = connect();
    socket.open();
    connection.close(4003, "é".repeat(100));
    socket.end(4003);
    assert.deepEqual(heard.told, [["opened"]]);
    assert.equal(socket.closed.reason, "é".repeat(61));
  }
  {
    const { connection, socket } = connect();
    socket.open();
    const before = process.cpuUsage();
    connection.close(4400, "x".repeat(20_000));
    assert.ok(process.cpuUsage(before).user < 1e6, "the length of what a server sends does not matter");
    assert.equal(socket.closed.reason, "x".repeat(123));
  }
  {
    const { heard, socket } = connect();
    socket.open();
    network.cut();
    assert.deepEqual(heard.told, [["opened"]]);
    await turn();
    assert.match(heard.told[1][2], /cut its own network/);
    const later = connect();
    await turn();
    assert.match(later.heard.told[0][2], /cut its own network/);
    network.restore();
    assert.equal(connect().socket.readyState, 0);
  }
});

test("a request reports its answer, or why there is none", async () => {
  const answers = [];
  const asked = [];
  const scripted = async (url, init) => {
    asked.push({ url, ...init });
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const network = new NetworkSwitch({ WebSocket: ScriptedSocket, fetch: scripted });
  const heard = reports();
  const connection = new PollingConnection(1, "http://x/c", "dev:ada", network, heard, () => 0);
  const poll = { type: "poll", afterSequence: 3, epoch: "e", waitMs: 0, clientId: "c", sessionId: "s+1", generation: 2, start: "snapshot", fallback: "not_opened", report: null };
  const publish = { type: "publishMany", clientId: "c", generation: 2, messages: [], cursor: { x: 1 } };
  const outcome = async (answer, request = poll) => {
    answers.push(answer);
    connection.send(request);
    while (!heard.told.some(([name]) => name === "arrived" || name === "malformed")) await turn();
    return heard.told.splice(0).filter(([name]) => name !== "bytesCame")[0];
  };
  const json = (value, init) => new Response(JSON.stringify(value), init);
  const [, published] = await outcome(json({ results: [{ type: "accepted", clientSequence: 1, sequenceNumber: 5 }] }), publish);
  assert.deepEqual(published, { type: "published", results: [{ type: "accepted", clientSequence: 1, sequenceNumber: 5, duplicate: false }], epoch: null });
  assert.deepEqual([asked[0].url, asked[0].method, asked[0].headers.Authorization], ["http://x/c/publish", "POST", "Bearer dev:ada"]);
  const failed = (fields) => ["arrived", { type: "requestFailed", request: "poll", code: null, retryAfterMs: null, ...fields }];
  assert.deepEqual(
    await outcome(json({ code: 4030, message: "full", retryAfterMs: 5000 }, { status: 503, headers: { "Retry-After": "9" } })),
    failed({ code: 4030, message: "full", retryAfterMs: 5000 }),
  );
  assert.equal(asked[1].url, "http://x/c/poll?afterSequence=3&epoch=e&clientId=c&sessionId=s%2B1&generation=2&fallback=not_opened");
  const foreign = "not from a server of this protocol";
  assert.deepEqual(await outcome(new Response("<html>", { status: 502, headers: { "Retry-After": "9" } })), failed({ message: `HTTP status 502, ${foreign}`, retryAfterMs: 9000 }));
  assert.deepEqual(await outcome(json({ code: 1011, message: "x" }, { status: 500 })), failed({ message: `HTTP status 500, ${foreign}` }));
  assert.deepEqual(await outcome(json({ code: 4403, message: "no" }, { status: 403, headers: { "Retry-After": "soon" } })), failed({ code: 4403, message: "no" }));
  assert.deepEqual(await outcome(new TypeError("no route")), failed({ message: "the request failed: no route" }));
  assert.deepEqual(await outcome(new Response("{")), ["malformed", 4400]);
  assert.deepEqual(await outcome(new Response("x".repeat(8 * 1024 * 1024 + 1))), ["malformed", 4413]);
  connection.close();
  connection.send(poll);
  await turn();
  assert.deepEqual(heard.told, []);
});

const WELCOME = {
  type: "welcome", sessionId: "s", epoch: "e", outcome: "fresh", oldest: 1, head: 0, afterSequence: 0, lastClientSequence: 0, heartbeatMs: 15_000,
  limits: { frameBytesMax: 65_536, unansweredMax: 64, publishesPerS: 200 }, retry: { firstSpreadMs: 1000 }, activeUsers: [], cursorPositions: {}, serverTime: 0,
};

/** A client with a scripted WebSocket that was welcomed. */
async function welcomed(options = {}) {
  const clock = new TestClock();
  const transports = { WebSocket: ScriptedSocket, fetch: async () => new Response("", { status: 502 }) };
  const client = new RunClient(randomUUID(), { url: "http://x", token: "dev:ada", storage: "memory", transports, clock, page: null, random: () => 0.5, ...options });
  await client.start();
  const socket = ScriptedSocket.last;
  socket.open();
  socket.say(WELCOME);
  socket.say({ type: "snapshot", sequenceNumber: 0, state: {} });
  const pings = () => socket.sent.filter(({ type }) => type === "ping");
  return { client, clock, socket, pings };
}

test("a page that stood still reads what has arrived before it judges the silence", async () => {
  const { client, clock, socket, pings } = await welcomed();
  socket.say({ type: "pong", nonce: pings()[0].nonce, serverTime: 0 });
  clock.advance(10_000);
  assert.equal(pings().length, 2);
  clock.standStill(60_000); // frozen: the pong lies there unread, and the alarm rings a minute late
  clock.advance(0);
  assert.equal(client.state, "live");
  socket.say({ type: "pong", nonce: pings()[1].nonce, serverTime: 0 });
  clock.advance(200);
  assert.equal(client.state, "live");
  assert.equal(pings().length, 3, "and the ping that was due is sent");
  clock.standStill(60_000);
  clock.advance(200);
  assert.equal(client.state, "waiting", "nothing came");
  assert.deepEqual(socket.closed.code, 4003);
  client.close();
});

test("after the machine has slept a connection that died meanwhile is found out", async () => {
  const { client, clock, socket, pings } = await welcomed();
  socket.say({ type: "pong", nonce: pings()[0].nonce, serverTime: 0 });
  clock.advance(9000);
  clock.sleep(8 * 3_600_000);
  clock.advance(1100);
  assert.equal(pings().length, 2, "a ping at once");
  clock.advance(10_000);
  assert.equal(client.state, "waiting");
  client.close();
});

test("health changes at most ten times a second, and can be read at any moment", async () => {
  const { client, clock } = await welcomed();
  clock.advance(1000);
  const told = [];
  const changes = [];
  client.health.subscribe((health) => told.push(health.queuedMessages));
  client.addEventListener("healthchange", ({ detail }) => changes.push(detail.queuedMessages));
  for (let n = 1; n <= 50; n++) {
    void client.publish("CHAT", { n });
    assert.equal(client.health.value.queuedMessages, n);
    clock.advance(10);
  }
  clock.advance(1000);
  assert.ok(told.length <= 8, `${told.length} times in half a second`);
  assert.equal(told.at(-1), 50);
  assert.deepEqual(changes, told.slice(1));
  assert.ok(Object.isFrozen(client.health.value));
  client.close();
});

test("a storage that never answers is not waited for, and a late lease is given back", async () => {
  const clock = new TestClock();
  let answer;
  let released = 0;
  const storage = { acquire: () => new Promise((resolve) => (answer = resolve)) };
  const transports = { WebSocket: ScriptedSocket, fetch };
  const client = new RunClient(randomUUID(), { url: "http://x", storage, transports, clock, page: null });
  const told = [];
  client.addEventListener("storageerror", ({ detail }) => told.push(detail.message));
  const publish = client.publish("CHAT", {});
  const started = client.start();
  await turn();
  clock.advance(9999);
  await turn();
  assert.equal(client.state, "new");
  clock.advance(1);
  await started;
  assert.equal(client.state, "connecting");
  assert.match(told[0], /did not answer within 10 s/);
  assert.equal(client.getQueuedMessageCount(), 1);
  answer({ isKept: true, load: async () => null, loadFailures: async () => [], release: async () => (released += 1) });
  await turn();
  assert.equal(released, 1);
  client.close();
  await assert.rejects(publish, { code: "closed" });
});

/** A storage of one identity, whose calls can be made to wait for ever, or to fail. */
class ScriptedStorage {
  saved = [];
  answers = {}; // of calls by name; of those that are not in it nothing is known but that they succeed
  calls = [];

  async acquire() {
    const call = (name, value) => (...given) => {
      this.calls.push(name);
      return this.answers[name]?.(...given) ?? Promise.resolve(value);
    };
    const save = call("save");
    return {
      isKept: true,
      load: call("load", null),
      loadFailures: call("loadFailures", []),
      save: async (changes) => {
        await save(changes);
        this.saved.push(changes);
      },
      clear: call("clear"),
      release: call("release"),
      retake: call("retake", true),
    };
  }
}

const never = () => new Promise(() => {});
const outcomeOf = (publish) => publish.then(({ sequenceNumber }) => sequenceNumber, ({ code, mayHaveArrived }) => [code, mayHaveArrived]);

/** A client of which publish 1 is stored and sent, publish 2 waits for an answer of the storage, and publish 3 waits for that one. */
async function waiting(answers) {
  const storage = new ScriptedStorage();
  const { client, clock, socket, pings } = await welcomed({ storage });
  const told = [];
  client.addEventListener("storageerror", ({ detail }) => told.push(detail.message));
  await turn();
  socket.say({ type: "pong", nonce: pings()[0].nonce, serverTime: 0 });
  const outcomes = [outcomeOf(client.publish("CHAT", { n: 1 }))];
  await turn();
  storage.answers = answers;
  for (const n of [2, 3]) {
    outcomes.push(outcomeOf(client.publish("CHAT", { n })));
    await turn();
  }
  assert.deepEqual(sentBy(socket), [1]);
  return { storage, client, clock, socket, told, outcomes };
}

const sentBy = (socket) => socket.sent.filter(({ type }) => type === "publish").map(({ data }) => data.n);

/** The client's next WebSocket: it is welcomed, and all that it sends is accepted. Returns what it has said first. */
async function goOn(client) {
  const socket = ScriptedSocket.last;
  socket.open();
  await turn();
  socket.say({ ...WELCOME, outcome: "resumed" });
  await turn();
  for (const { type, clientSequence } of socket.sent) {
    if (type === "publish") socket.say({ type: "accepted", clientSequence, sequenceNumber: clientSequence, duplicate: false });
  }
  assert.equal(client.getQueuedMessageCount(), 0);
  return socket;
}

test("a save that never answers is not waited for: what nobody can know of is told, the rest is sent", async () => {
  const { storage, client, clock, socket, told, outcomes } = await waiting({ save: never });
  const [id, failed] = [client.clientId, []];
  client.addEventListener("failed", ({ detail }) => failed.push(detail.data.n));
  clock.advance(9999);
  await turn();
  assert.deepEqual([told, client.clientId, sentBy(socket)], [[], id, [1]], "it may still come");
  clock.advance(1);
  await turn();
  assert.deepEqual(told, ["the browser's storage did not answer within 10 s"]);
  assert.equal(storage.calls.includes("clear"), false, "what is in it may be the next page's");
  assert.equal(storage.calls.at(-1), "release");
  assert.deepEqual([await outcomes[0], await outcomes[1]], [["moved", true], ["closed", true]]);
  assert.deepEqual([failed, client.failures.map(({ data }) => data.n)], [[2], [2]]);
  assert.equal(socket.closed.code, 4001);
  const next = await goOn(client);
  assert.deepEqual(sentBy(next), [3]);
  assert.equal(await outcomes[2], 1);
  assert.notEqual(client.clientId, id);
  const { type, epoch, afterSequence } = next.sent[0];
  assert.deepEqual([type, epoch, afterSequence], ["hello", "e", 0], "from its position");
  client.close();
});

test("a storage that fails is deleted, and nothing is sent before it is", async () => {
  let cleared;
  const full = () => Promise.reject(new Error("the disk is full"));
  const { client, socket, told, outcomes } = await waiting({ save: full, clear: () => new Promise((resolve) => (cleared = resolve)) });
  assert.deepEqual([sentBy(socket), told], [[1], []]);
  const id = client.clientId;
  cleared();
  await turn();
  assert.deepEqual([sentBy(socket), told, client.clientId], [[1, 2, 3], ["the disk is full"], id]);
  for (const clientSequence of [1, 2, 3]) socket.say({ type: "accepted", clientSequence, sequenceNumber: clientSequence, duplicate: false });
  assert.deepEqual(await Promise.all(outcomes), [1, 2, 3]);
  client.close();
});

test("of a storage that fails and is not known to be deleted nobody says that it will be sent", async () => {
  const full = () => Promise.reject(new Error("the disk is full"));
  const { client, clock, told, outcomes } = await waiting({ save: full, clear: never });
  clock.advance(10_000);
  await turn();
  assert.deepEqual(told, ["the disk is full"]);
  assert.deepEqual(await outcomes[0], ["closed", true]);
  assert.deepEqual(sentBy(await goOn(client)), [2, 3]);
  assert.deepEqual(await Promise.all(outcomes), [["closed", true], 1, 2]);
  client.close();
});

test("an answer of the storage that has come while the page stood still counts", async () => {
  let saved;
  const { client, clock, socket, told } = await waiting({ save: () => new Promise((resolve) => (saved = resolve)) });
  clock.standStill(60_000);
  clock.advance(0);
  saved();
  await turn();
  clock.advance(5000);
  await turn();
  assert.deepEqual(told, []);
  assert.equal(client.getQueuedMessageCount(), 3);
  client.close();
});

test("a storage that does not load is let go, for another page", async () => {
  const storage = new ScriptedStorage();
  storage.answers = { load: never };
  const clock = new TestClock();
  const transports = { WebSocket: ScriptedSocket, fetch };
  const client = new RunClient(randomUUID(), { url: "http://x", storage, transports, clock, page: null });
  const started = client.start();
  await turn();
  clock.advance(10_000);
  await started;
  assert.deepEqual(storage.calls, ["load", "loadFailures", "release"]);
  client.close();
});

for (const [what, save] of [
  ["does not answer", never],
  ["fails", () => Promise.reject(new Error("the browser's storage did not answer: it is full"))],
]) {
  test(`a client that stops while its storage ${what} tells it, and waits no longer than the limit`, async () => {
    const storage = new ScriptedStorage();
    const { client, clock } = await welcomed({ storage });
    const told = [];
    client.addEventListener("storageerror", ({ detail }) => told.push(detail.message));
    await turn();
    storage.answers = { save };
    const outcome = outcomeOf(client.publish("CHAT", { n: 1 }));
    const stopped = client.stop();
    await turn();
    clock.advance(10_000);
    await stopped;
    assert.equal(told.length, 1);
    assert.match(told[0], /did not answer/);
    assert.deepEqual(await outcome, ["stopped", true]);
  });
}

test("what a listener publishes while it is told of something comes after it", async () => {
  const { client, socket } = await welcomed();
  const order = [];
  client.addEventListener("event", ({ detail }) => {
    order.push(`event ${detail.sequenceNumber}`);
    if (detail.sequenceNumber === 1) client.publish("GRAFT", {}).catch((error) => order.push(error.name));
    if (detail.sequenceNumber === 1) client.close();
  });
  client.addEventListener("end", () => order.push("end"));
  const event = (sequenceNumber) => ({ eventType: "CHAT", userId: "ben", timestamp: 1, sequenceNumber, data: {}, isCritical: false });
  socket.say({ type: "events", events: [event(1), event(2)] });
  await turn();
  assert.deepEqual(order, ["event 1", "event 2", "end", "InvalidEvent"]);
});

test("a replay with too many pages is refused instead of cut", async () => {
  let pages = 0;
  const endless = async () => new Response(JSON.stringify({ events: [], hasMore: true, nextSequence: ++pages }));
  const network = new NetworkSwitch({ WebSocket: ScriptedSocket, fetch: endless });
  const caller = { network, clock: new TestClock() };
  await assert.rejects(replay(caller, "https://server.example/run", null, { fromSequence: 1 }), { name: "RequestFailedError", message: /100 pages/ });
  assert.equal(pages, 100);
});

test("a run that no server creates and a replay that none answers are given up", async () => {
  const clock = new TestClock();
  const fetch = (_, { signal }) =>
    new Promise((_, reject) => {
      if (signal.aborted) reject(signal.reason);
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  const options = { url: "http://127.0.0.1:1", transports: { WebSocket: ScriptedSocket, fetch }, clock };
  const client = new RunClient(randomUUID(), { ...options, storage: "memory", page: null });
  for (const [ms, asks] of [
    [10_000, () => createRun(randomUUID(), options)],
    [60_000, () => client.replayMissedMessages()],
  ]) {
    let isOver = false;
    const refused = assert.rejects(asks().finally(() => (isOver = true)), { name: "RequestFailedError", message: /no answer within \d+ s/ });
    await turn();
    clock.advance(ms - 1);
    await turn();
    assert.equal(isOver, false);
    clock.advance(1);
    await refused;
  }
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(createRun(randomUUID(), { ...options, signal }), /enough/);
});

test("options that cannot work are refused", () => {
  const make = (options) => () => new RunClient(randomUUID(), { url: "http://x", storage: "memory", page: null, ...options });
  for (const deliveriesMax of [0, -1, 1.5, NaN, "8"]) assert.throws(make({ deliveriesMax }), { name: "ConfigError", message: /deliveriesMax/ });
  for (const url of ["http://x/?token=secret", "http://x/#a", "ftp://x", "http://ada:x@x"]) assert.throws(make({ url }), { name: "ConfigError" });
  make({ url: "wss://x/base", deliveriesMax: 1 })().close();
});

test("a round trip that nobody answers is given up", async () => {
  const clock = new TestClock();
  const fetch = (_, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  class Refused {
    constructor() {
      throw new Error("no WebSocket here");
    }
  }
  const transports = { WebSocket: Refused, fetch };
  const client = new RunClient(randomUUID(), {
    url: "http://127.0.0.1:1", storage: "memory", page: null, clock, transports, config: { fallbackAfterFailures: 1 },
  });
  await client.start();
  await new Promise((resolve) => setImmediate(resolve)); // the WebSocket is refused in a task of its own
  assert.equal(client.state, "polling");
  const measured = assert.rejects(client.measureLatency(), { name: "NotConnectedError", message: /not within 60 s/ });
  clock.advance(60_000);
  await measured;
  client.close();
});

test("the admin's picture names every process that did not answer, and names it once", async (t) => {
  let silent = { metrics: ["a:1", "b:2"], connections: ["b:2", "c:3"] };
  t.mock.method(globalThis, "fetch", async (url) => {
    const call = url.split(/[/?]/)[4];
    return Response.json({ processesSilent: silent[call] }); // left out where nobody is
  });
  const admin = new AdminApi("dev-admin:root");
  assert.deepEqual((await admin.picture(false)).silent, ["a:1", "b:2", "c:3"]);
  silent = { connections: ["c:3"] };
  assert.deepEqual((await admin.picture(false)).silent, ["c:3"]);
  silent = {};
  assert.deepEqual((await admin.picture(false)).silent, []);
});
