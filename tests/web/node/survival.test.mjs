/** What survives a page: reloads, kills at any moment, a second tab, a page that is left and shown again, a disk that fails. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, test } from "node:test";

import { createRun } from "../../../reference/web/index.js";
import { PageClock } from "../../../reference/web/client/clock.js";
import { Disk, Way, clientOf, closeAll, graft, heard, marksOf, range, soon, startServer, until } from "./support.mjs";

let server;
before(async () => {
  server = await startServer();
});
afterEach(closeAll);
after(() => server.stop());

async function newRun() {
  const runId = randomUUID();
  await createRun(runId, { url: server.url, token: "dev:ada" });
  return runId;
}

async function logOf(runId) {
  const reader = clientOf("reader", runId, server.url);
  const events = await reader.replayMissedMessages(runId, { fromSequence: 1 });
  reader.close();
  return marksOf(events);
}

test("50 grafts that were queued offline survive a reload, once and in order", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const way = await Way.to(server.port);
  const page = clientOf("ada", runId, way.url, { storage: disk });
  await page.start();
  await page.connected();
  const byPage = heard(page);
  await page.publish("GRAFT", graft(0));
  await until(page, () => byPage.length === 1);
  way.cut();
  const queued = range(50).map((mark) => page.publish("GRAFT", graft(mark)));
  assert.equal(page.getQueuedMessageCount(), 50);
  await page.stop();
  for (const publish of queued) await assert.rejects(publish, { code: "stopped" });

  const reloaded = clientOf("ada", runId, way.url, { storage: disk });
  const snapshots = [];
  const accepted = [];
  reloaded.addEventListener("snapshot", ({ detail }) => snapshots.push(detail));
  reloaded.addEventListener("accepted", ({ detail }) => accepted.push(detail));
  const events = heard(reloaded);
  await reloaded.start();
  assert.equal(reloaded.clientId, page.clientId);
  assert.equal(reloaded.getQueuedMessageCount(), 50);
  assert.deepEqual(reloaded.pending.map(({ data }) => data.mark), range(50));
  assert.deepEqual([snapshots[0].reason, snapshots[0].sequenceNumber], ["stored", 1]);
  assert.deepEqual(snapshots[0].state.grafts, { "step-0": graft(0) });
  way.restore();
  await until(reloaded, () => accepted.length === 50 && events.length === 50);
  assert.deepEqual(marksOf(events), range(50), "it went on from its position");
  assert.equal(snapshots.length, 1);
  assert.deepEqual(await logOf(runId), range(51, 0));
  reloaded.close();
  way.close();
});

test("a page that is killed at any moment repeats itself, and nothing is stored twice or lost", async () => {
  for (const round of range(12)) {
    const runId = await newRun();
    let disk = new Disk();
    const way = await Way.to(server.port);
    const told = []; // mark and number of each publish that a page was told of
    let mark = 0;
    for (const life of range(3)) {
      const page = clientOf("ada", runId, way.url, { storage: disk, config: { unansweredMax: 4, outboxPolicy: "drop_oldest", outboxMessagesMax: 6 } });
      await page.start();
      const publish = async (number) => told.push([number, (await page.publish("GRAFT", graft(number))).sequenceNumber]);
      const burst = () => {
        for (const _ of range(1 + ((round + life) % 5))) publish((mark += 1)).catch(() => {});
      };
      burst();
      if (round % 3 !== 0) await page.connected();
      burst();
      for (const _ of range((round * 7 + life * 3) % 11)) await new Promise((resolve) => setImmediate(resolve)); // somewhere in between
      burst();
      disk = disk.copy(); // the kill: what is on the disk now is all that is left
      page.cutNetwork();
      way.cut();
      page.close();
      way.restore();
    }
    const last = clientOf("ada", runId, way.url, { storage: disk });
    await last.start();
    await last.publish("GRAFT", graft((mark += 1)));
    await until(last, () => last.getQueuedMessageCount() === 0);
    const log = await logOf(runId);
    assert.equal(new Set(log).size, log.length, `twice in round ${round}: ${log}`);
    assert.deepEqual(log, [...log].sort((a, b) => a - b), `out of order in round ${round}`);
    assert.ok(log.includes(mark));
    for (const [number, sequenceNumber] of told) assert.equal(log[sequenceNumber - 1], number, "no publish got the answer of another");
    last.close();
    way.close();
  }
});

test("nothing leaves before its number is stored", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const way = await Way.to(server.port);
  way.cut();
  const [page, ben] = [clientOf("ada", runId, way.url, { storage: disk }), clientOf("ben", runId, server.url)];
  await Promise.all([page.start(), ben.start(), ben.connected()]);
  for (const mark of range(3)) page.publish("GRAFT", graft(mark)).catch(() => {});
  await until(page, () => disk.messages === 3 || page.state === "closed");
  page.addEventListener("statechange", ({ detail }) => detail.state === "greeting" && disk.hold());
  way.restore();
  await until(page, () => page.state === "proving");
  for (const mark of range(3, 101)) await ben.publish("CHAT", { mark }); // time enough for what should not leave
  const killed = disk.copy();
  page.cutNetwork();
  page.close();
  const next = clientOf("ada", runId, way.url, { storage: killed });
  await next.start();
  await until(next, () => next.getQueuedMessageCount() === 0);
  const log = await logOf(runId);
  assert.deepEqual(log.filter((mark) => mark < 100), range(3));
  for (const client of [next, ben]) client.close();
  way.close();
  disk.letGo();
});

test("a second tab has an identity of its own", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const [first, second] = [clientOf("ada", runId, server.url, { storage: disk }), clientOf("ada", runId, server.url, { storage: disk })];
  await Promise.all([first.start(), second.start()]);
  assert.notEqual(first.clientId, second.clientId);
  await Promise.all([first.publish("CHAT", { mark: 1 }), second.publish("CHAT", { mark: 2 })]);
  await first.stop();
  const again = clientOf("ada", runId, server.url, { storage: disk });
  await again.start();
  assert.equal(again.clientId, first.clientId);
  await again.connected();
  for (const client of [again, second]) client.close();
});

/** The parts of a page that a client looks at. */
function pageOf() {
  const [window, document] = [new EventTarget(), new EventTarget()];
  document.visibilityState = "visible";
  const tell = (target, type, fields = {}) => target.dispatchEvent(Object.assign(new Event(type), fields));
  return {
    parts: { window, document, navigator: { onLine: true } },
    leave: () => tell(window, "pagehide", { persisted: true }),
    show: () => tell(window, "pageshow", { persisted: true }),
    goOffline() {
      this.parts.navigator.onLine = false;
      tell(window, "offline");
    },
    goOnline() {
      this.parts.navigator.onLine = true;
      tell(window, "online");
    },
  };
}

test("a page that is left and shown again goes on with its own identity", async () => {
  const runId = await newRun();
  const page = pageOf();
  const disk = new Disk();
  const ada = clientOf("ada", runId, server.url, { storage: disk, page: page.parts });
  const ben = clientOf("ben", runId, server.url);
  const byAda = heard(ada);
  await Promise.all([ada.start(), ben.start(), ada.connected(), ben.connected()]);
  await ada.publish("GRAFT", graft(1));
  const id = ada.clientId;
  disk.delayMs = 300; // the page is shown again before everything is stored
  page.leave();
  const late = ada.publish("GRAFT", graft(3));
  await ben.publish("GRAFT", graft(2));
  page.show();
  const later = ada.publish("GRAFT", graft(4)); // it is not back yet
  await Promise.all([late, later]);
  await until(ada, () => byAda.length === 4);
  assert.deepEqual(marksOf(byAda), [1, 2, 3, 4]);
  assert.equal(ada.clientId, id);
  await until(ada, () => ada.health.value.reconnections === 1);
  for (const client of [ada, ben]) client.close();
});

test("a page that is left and shown twice at once goes on with its own identity", async () => {
  const runId = await newRun();
  const page = pageOf();
  const ada = clientOf("ada", runId, server.url, { storage: new Disk(), page: page.parts });
  await ada.start();
  await ada.publish("GRAFT", graft(1));
  const id = ada.clientId;
  for (const _ of range(2)) {
    page.leave();
    page.show();
  }
  await ada.publish("GRAFT", graft(2));
  await until(ada, () => ada.health.value.status === "Reconnected");
  assert.equal(ada.clientId, id);
  ada.close();
});

test("a page that is opened in the background has its timers in a worker", async () => {
  const page = pageOf();
  page.parts.document.visibilityState = "hidden";
  const told = [];
  class Clock extends PageClock {
    hide(isHidden) {
      told.push(isHidden);
      super.hide(isHidden);
    }
  }
  const ada = clientOf("ada", await newRun(), server.url, { page: page.parts, clock: new Clock() });
  await ada.start();
  assert.deepEqual(told, [true]);
  ada.close();
});

test("a page whose identity another tab has taken meanwhile begins with a new one", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const page = pageOf();
  const way = await Way.to(server.port);
  const ada = clientOf("ada", runId, way.url, { storage: disk, page: page.parts });
  await ada.start();
  await ada.connected();
  way.cut();
  const queued = ada.publish("GRAFT", graft(1));
  await until(ada, () => disk.slots.values().next().value?.messages.size === 1 || ada.state === "polling");
  const id = ada.clientId;
  page.leave();
  await new Promise((resolve) => setTimeout(resolve, 50)); // until the lease is free
  way.restore();
  const other = clientOf("ada", runId, way.url, { storage: disk });
  await other.start();
  assert.equal(other.clientId, id);
  await until(other, () => other.getQueuedMessageCount() === 0 && other.position.sequenceNumber === 1);
  page.show();
  const later = ada.publish("GRAFT", graft(2)); // nobody knows yet that the identity is another's
  await assert.rejects(queued, { code: "moved" });
  await until(ada, () => ada.clientId !== id && ada.state === "live");
  await later;
  assert.deepEqual(await logOf(runId), [1, 2]);
  for (const client of [ada, other]) client.close();
  way.close();
});

/** A page that was left, whose identity another tab has taken. */
async function robbed(runId, options = {}) {
  const disk = new Disk();
  const page = pageOf();
  const ada = clientOf("ada", runId, server.url, { storage: disk, page: page.parts, ...options });
  await ada.start();
  await ada.connected();
  return {
    ada,
    page,
    async rob() {
      page.leave();
      await new Promise((resolve) => setTimeout(resolve, 50)); // until the lease is free
      const other = clientOf("ada", runId, server.url, { storage: disk });
      await other.start();
    },
  };
}

test("a page that is left and shown again while it takes another identity has one session", async () => {
  const runId = await newRun();
  const { ada, page, rob } = await robbed(runId);
  const byAda = heard(ada);
  const id = ada.clientId;
  await rob();
  page.show();
  page.leave();
  page.show();
  await until(ada, () => ada.clientId !== id && ada.state === "live");
  const ben = clientOf("ben", runId, server.url);
  await ben.start();
  for (const mark of range(3)) {
    await ben.publish("GRAFT", graft(mark));
    await ada.publish("GRAFT", graft(10 + mark));
  }
  assert.deepEqual(marksOf(byAda), [1, 11, 2, 12, 3, 13], "each once");
});

test("a page that takes another identity holds again when nobody reads", async () => {
  const runId = await newRun();
  const { ada, page, rob } = await robbed(runId, { deliveriesMax: 8 });
  const ben = clientOf("ben", runId, server.url);
  await ben.start();
  const loop = ada.events();
  const wave = () => Promise.all(range(60).map((mark) => ben.publish("CHAT", { mark })));
  const id = ada.clientId;
  for (const _ of range(3)) await wave();
  assert.ok(ada.position.sequenceNumber < 180, "it holds");
  await rob();
  page.show();
  await until(ada, () => ada.clientId !== id && ada.state === "live");
  for (const _ of range(5)) await wave();
  await ada.publish("CHAT", { mark: 0 });
  assert.ok(ada.position.sequenceNumber < 480, `it has received ${ada.position.sequenceNumber}`);
  await loop.return();
});

for (const [what, retaking] of [
  ["fails", () => Promise.reject(new Error("the database is gone"))],
  ["does not answer", () => new Promise(() => {})],
]) {
  test(`a page that is shown again goes on when its storage ${what}`, async () => {
    class Impatient extends PageClock {
      setTimer(ms, ring) {
        return super.setTimer(ms === 10_000 ? 10 : ms, ring);
      }
    }
    const disk = new Disk();
    const page = pageOf();
    const ada = clientOf("ada", await newRun(), server.url, { storage: disk, page: page.parts, clock: new Impatient() });
    const told = [];
    ada.addEventListener("storageerror", ({ detail }) => told.push(detail.message));
    await ada.start();
    await ada.publish("GRAFT", graft(1));
    disk.retaking = retaking;
    page.leave();
    page.show();
    assert.equal((await ada.publish("GRAFT", graft(2))).sequenceNumber, 2);
    assert.equal(told.length, 1);
    ada.close();
  });
}

test("a client that is closed while its page is left has ended, and does not come back", async () => {
  const { ada, page, rob } = await robbed(await newRun());
  const published = ada.publish("GRAFT", graft(1));
  await rob();
  ada.close();
  await assert.rejects(published, { code: "stopped" });
  assert.equal((await ada.ended).code, null);
  const id = ada.clientId;
  page.show();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual([ada.state, ada.clientId], ["closed", id]);
});

test("a client that is stopped while its page comes back stays away", async () => {
  const disk = new Disk();
  const page = pageOf();
  const ada = clientOf("ada", await newRun(), server.url, { storage: disk, page: page.parts });
  await ada.start();
  await ada.connected();
  disk.retaking = () => new Promise((resolve) => setTimeout(resolve, 20, true));
  page.leave();
  page.show();
  await new Promise((resolve) => setTimeout(resolve, 5)); // it is asking the storage
  await ada.stop();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(ada.transport, null);
});

test("a client that a listener stops tells nothing more", async () => {
  const runId = await newRun();
  const ben = clientOf("ben", runId, server.url);
  await ben.start();
  await Promise.all(range(5).map((mark) => ben.publish("GRAFT", graft(mark))));
  const ada = clientOf("ada", runId, server.url, { config: { start: "oldest" } });
  const byAda = heard(ada);
  ada.addEventListener("event", ({ detail }) => detail.data.mark === 2 && ada.stop());
  await ada.start();
  await ada.ended;
  assert.deepEqual(marksOf(byAda), [1, 2]);
});

test("offline is believed at once, and online is not waited for", async () => {
  const runId = await newRun();
  const page = pageOf();
  const { port } = server;
  const onThisMachine = (url) => String(url).replace("server.example", "127.0.0.1"); // a name that is not loopback's
  class ElsewhereSocket extends WebSocket {
    constructor(url, protocols) {
      super(onThisMachine(url), protocols);
    }
  }
  const transports = { WebSocket: ElsewhereSocket, fetch: (url, init) => fetch(onThisMachine(url), init) };
  const slow = { firstSpreadS: 60, fallbackAfterFailures: 9 };
  const ada = clientOf("ada", runId, `http://server.example:${port}`, { page: page.parts, transports, config: slow, random: () => 0.999 });
  await ada.start();
  await until(ada, () => ada.state === "live");
  page.goOffline();
  await until(ada, () => ada.health.value.isOffline && ada.health.value.status === "Disconnected");
  assert.equal(ada.health.value.reason, "the browser is offline");
  page.goOnline();
  await until(ada, () => ada.health.value.status === "Reconnected");
  assert.equal(ada.health.value.isOffline, false);
  ada.close();
});

test("a disk that fails is told of, and the session goes on without it", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const ada = clientOf("ada", runId, server.url, { storage: disk });
  const told = [];
  ada.addEventListener("storageerror", ({ detail }) => told.push(detail.message));
  await ada.start();
  await ada.publish("GRAFT", graft(1));
  disk.failsFrom = 0;
  await ada.publish("GRAFT", graft(2));
  await ada.publish("GRAFT", graft(3));
  assert.deepEqual(told, ["the disk is full"]);
  assert.equal(disk.slots.size, 0, "an old numbering must not be found by the next page");
  ada.close();
  assert.deepEqual(await logOf(runId), [1, 2, 3]);
});

test("a disk that fails and cannot be cleared is left to the next page, and this one goes on with another identity", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const way = await Way.to(server.port);
  const ada = clientOf("ada", runId, way.url, { storage: disk });
  const told = [];
  ada.addEventListener("storageerror", ({ detail }) => told.push(detail.message));
  const byAda = heard(ada);
  await ada.start();
  await ada.connected();
  await ada.publish("GRAFT", graft(1));
  await until(ada, () => byAda.length === 1);
  const id = ada.clientId;
  way.cut();
  const stored = ada.publish("GRAFT", graft(2));
  await soon(() => [...disk.slots.values()].some(({ messages }) => [...messages.values()].some(({ data }) => data.mark === 2)));
  disk.failsFrom = 0;
  disk.clearFails = true;
  const unstored = ada.publish("GRAFT", graft(3));
  await assert.rejects(stored, { code: "moved" });
  assert.deepEqual(told, ["the disk is full"]);
  const later = ada.publish("GRAFT", graft(4));
  way.restore();
  await Promise.all([unstored, later]);
  await until(ada, () => byAda.length === 3);
  assert.notEqual(ada.clientId, id);
  assert.deepEqual(ada.runState.grafts, Object.fromEntries([1, 3, 4].map((mark) => [`step-${mark}`, graft(mark)])));

  disk.failsFrom = Infinity;
  const next = clientOf("ada", runId, way.url, { storage: disk });
  await next.start();
  assert.equal(next.clientId, id);
  await until(next, () => next.getQueuedMessageCount() === 0);
  assert.deepEqual(await logOf(runId), [1, 3, 4, 2], "each once");
  await until(ada, () => byAda.length === 4);
  assert.deepEqual(marksOf(byAda), [1, 3, 4, 2]);
});

test("an identity that the server refuses is forgotten", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const ada = clientOf("ada", runId, server.url, { storage: disk });
  await ada.start();
  await ada.publish("GRAFT", graft(1));
  await ada.stop();
  const ben = clientOf("ben", runId, server.url, { storage: disk }); // the same browser, another user, no `account`
  await ben.start();
  assert.equal((await ben.ended).code, 4403);
  await until(ben, () => disk.slots.size === 0);
  const again = clientOf("ben", runId, server.url, { storage: disk });
  await again.start();
  await again.publish("GRAFT", graft(2));
  again.close();
});

test("what the server refuses is told again after a reload or a kill, until it is dismissed", async () => {
  const runId = await newRun();
  const disk = new Disk();
  const options = { storage: disk, types: ["CHAT", "NOTE"] }; // the server knows no NOTE
  const page = clientOf("ada", runId, server.url, options);
  const changes = [];
  page.addEventListener("failureschange", ({ detail }) => changes.push(detail.failures.length));
  await page.start();
  await page.publish("CHAT", { mark: 1 });
  const refused = await Promise.allSettled(range(22).map((mark) => page.publish("NOTE", { mark })));
  assert.deepEqual([...new Set(refused.map(({ reason }) => reason.code))], ["unknown_event_type"]);
  assert.deepEqual(page.failures.map(({ data }) => data.mark), range(20, 3), "the newest are kept");
  assert.equal(changes.length, 22);
  await soon(() => disk.messages === 0 && disk.failures.size === 20);

  const killed = clientOf("ada", runId, server.url, { ...options, storage: disk.copy() });
  await page.stop();
  const reloaded = clientOf("ada", runId, server.url, options);
  for (const next of [killed, reloaded]) {
    const told = [];
    next.addEventListener("failureschange", ({ detail }) => told.push(detail.failures));
    await next.start();
    assert.deepEqual(told.map((failures) => failures.length), [20]);
    const { id, failedAtMs, ...last } = next.failures.at(-1);
    const message = told[0].at(-1).message;
    assert.deepEqual(last, { eventType: "NOTE", data: { mark: 22 }, code: "unknown_event_type", message, mayHaveArrived: false });
    assert.ok(Math.abs(failedAtMs - Date.now()) < 60_000 && id !== next.failures[0].id && message !== "");
  }
  reloaded.dismissFailures([reloaded.failures[0].id]);
  assert.deepEqual(reloaded.failures.map(({ data }) => data.mark), range(19, 4));
  reloaded.dismissFailures();
  assert.deepEqual(reloaded.failures, []);
  await reloaded.stop();
  const last = clientOf("ada", runId, server.url, options);
  await last.start();
  assert.deepEqual(last.failures, []);
});

test("what fails because the application leaves is no news to it; what fails because the session was ended is", async () => {
  const [runId, disk] = [await newRun(), new Disk()];
  const way = await Way.to(server.port);
  way.cut();
  const page = clientOf("ada", runId, way.url, { storage: disk });
  await page.start();
  const left = page.publish("GRAFT", graft(1));
  page.close();
  await assert.rejects(left, { code: "closed" });
  assert.deepEqual(page.failures, []);

  const nowhere = clientOf("ada", randomUUID(), server.url, { storage: disk }); // there is no such run
  await nowhere.start();
  const lost = nowhere.publish("GRAFT", graft(2));
  await assert.rejects(lost, { code: "closed" });
  assert.equal((await nowhere.ended).code, 4404);
  assert.deepEqual(nowhere.failures.map(({ data }) => data.mark), [2]);
  await soon(() => disk.failures.size === 1);
});
