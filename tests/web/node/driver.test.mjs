/** The browser client against a real server: speaking and listening, drops, fallback, tokens, limits, ends. */

import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import { ConnectionStore, createRun } from "../../../reference/web/index.js";
import { Way, clientOf, closeAll, graft, heard, marksOf, range, startServer, until } from "./support.mjs";

let server;
before(async () => {
  server = await startServer();
});
afterEach(closeAll);
after(() => server.stop());

async function newRun(url = server.url, token = "dev:ada") {
  const runId = randomUUID();
  assert.equal(await createRun(runId, { url, token }), true);
  assert.equal(await createRun(runId, { url, token }), false);
  return runId;
}

test("two clients see each other, and each event once", async () => {
  const runId = await newRun();
  const [ada, ben] = [clientOf("ada", runId, server.url), clientOf("ben", runId, server.url)];
  const [byAda, byBen] = [heard(ada), heard(ben)];
  const early = ada.publish("GRAFT", graft(1)); // before it is started
  assert.equal(ada.getQueuedMessageCount(), 1);
  await Promise.all([ada.start(), ben.start(), ada.connected(), ben.connected()]);
  const accepted = [await early, await ben.publish("CHAT", { mark: 2 }), await ada.publish("PRUNE", { step: "step-1", mark: 3 })];
  assert.deepEqual(accepted.map(({ sequenceNumber }) => sequenceNumber), [1, 2, 3]);
  for (const [client, events] of [[ada, byAda], [ben, byBen]]) {
    await until(client, () => events.length === 3);
    assert.deepEqual(marksOf(events), [1, 2, 3]);
    assert.deepEqual(client.runState, { grafts: { "step-1": graft(1) }, prunes: ["step-1"], flags: [] });
    assert.deepEqual(client.position.sequenceNumber, 3);
  }
  ada.moveCursor({ line: 4 });
  await until(ben, () => ben.cursors.get("ada")?.line === 4);
  await until(ada, () => ada.activeUsers.length === 2);
  assert.deepEqual(ada.activeUsers, ["ada", "ben"]);
  assert.ok((await ada.measureLatency()) > 0);
  assert.deepEqual(marksOf(await ada.replayMissedMessages()), [1, 3]);
  assert.deepEqual(marksOf(await ada.replayMissedMessages(runId, { fromSequence: 2 })), [2, 3]);
  await until(ada, () => ada.health.value.deliveryRate === 1);
  const { status, transport, quality, reason, nextAttempt } = ada.health.value;
  assert.deepEqual({ status, transport, quality, reason, nextAttempt }, { status: "Connected", transport: "websocket", quality: "HEALTHY", reason: null, nextAttempt: null });
  ben.close();
  assert.deepEqual(await ben.ended, { code: null, message: "closed by the application" });
  await until(ada, () => ada.activeUsers.length === 1);
  ada.close();
});

test("publishes made while the line is down arrive once and in order, and the store counts them", async () => {
  const runId = await newRun();
  const way = await Way.to(server.port);
  const [ada, ben] = [clientOf("ada", runId, way.url), clientOf("ben", runId, server.url)];
  const byBen = heard(ben);
  const store = new ConnectionStore(ada);
  const statuses = [];
  store.connectionHealth.subscribe((health) => health && statuses.at(-1) !== health.status && statuses.push(health.status));
  await Promise.all([ada.start(), ben.start(), ada.connected(), ben.connected()]);
  await ada.publish("GRAFT", graft(1));
  await until(ada, () => statuses.at(-1) === "Connected");
  way.cut();
  await until(ada, () => ada.health.value.status === "Disconnected" && ada.health.value.nextAttempt !== null);
  const { reason, nextAttempt } = ada.health.value;
  assert.match(reason, /lost|refused/);
  assert.ok(nextAttempt.at > Date.now() - 60_000 && nextAttempt.at < Date.now() + 60_000);
  const publishes = range(20, 2).map((mark) => ada.publish("GRAFT", graft(mark)));
  assert.equal(store.queuedMessageCount.value, 20);
  way.restore();
  const numbers = (await Promise.all(publishes)).map(({ sequenceNumber }) => sequenceNumber);
  assert.deepEqual(numbers, range(20, 2));
  await until(ben, () => byBen.length === 21);
  assert.deepEqual(marksOf(byBen), range(21));
  await until(ada, () => statuses.at(-1) === "Reconnected" && store.queuedMessageCount.value === 0);
  assert.deepEqual(statuses, ["Disconnected", "Connected", "Disconnected", "Reconnected"]);
  for (const client of [ada, ben]) client.close();
  way.close();
});

test("a line that blocks WebSockets is polled, and left again, ten times", async () => {
  const runId = await newRun();
  const way = await Way.to(server.port);
  const [ada, ben] = [clientOf("ada", runId, way.url), clientOf("ben", runId, server.url)];
  const store = new ConnectionStore(ada);
  const [byAda, byBen] = [heard(ada), heard(ben)];
  await Promise.all([ada.start(), ben.start(), ada.connected(), ben.connected()]);
  for (const round of range(10)) {
    const first = 4 * (round - 1);
    way.blockUpgrades();
    await until(ada, () => ada.health.value.status === "HTTP Polling");
    assert.equal(ada.isUsingFallback(), true);
    assert.equal(store.usingFallback.value, true);
    assert.match(ada.health.value.reason, /no WebSocket gets through/);
    assert.ok((await ada.measureLatency()) > 0);
    await Promise.all([ada.publish("GRAFT", graft(first + 1)), ada.publish("GRAFT", graft(first + 2))]);
    await ben.publish("GRAFT", graft(first + 3));
    await until(ada, () => byAda.length === first + 3);
    way.blocksUpgrades = false;
    await until(ada, () => ada.state === "live");
    assert.equal(store.usingFallback.value, false);
    await ada.publish("GRAFT", graft(first + 4));
  }
  await until(ada, () => byAda.length === 40);
  await until(ben, () => byBen.length === 40);
  assert.deepEqual(marksOf(byBen), range(40));
  assert.deepEqual(marksOf(byAda), range(40));
  for (const client of [ada, ben]) client.close();
  way.close();
});

test("a page can cut its own network", async () => {
  const runId = await newRun();
  const ada = clientOf("ada", runId, server.url);
  await ada.start();
  await ada.connected();
  ada.cutNetwork();
  await until(ada, () => ada.health.value.status === "Disconnected");
  assert.equal(ada.health.value.isNetworkCut, true);
  assert.equal(ada.health.value.reason, "this page has cut its own network");
  const publish = ada.publish("CHAT", { mark: 1 });
  await assert.rejects(ada.replayMissedMessages(), /cut its own network/);
  await assert.rejects(ada.measureLatency(), { name: "NotConnectedError" });
  await until(ada, () => ada.state === "polling"); // it goes on trying, and nothing gets through
  assert.equal(ada.health.value.status, "Disconnected");
  ada.restoreNetwork();
  assert.equal((await publish).sequenceNumber, 1);
  await until(ada, () => ada.state === "live");
  ada.close();
});

test("a server that is killed and comes back on the same port loses nothing", async () => {
  const directory = mkdtempSync(join(tmpdir(), "steadywire-"));
  const store = `sqlite:///${directory}/events.sqlite3`;
  let lives = await startServer({ store });
  const runId = await newRun(lives.url);
  const ada = clientOf("ada", runId, lives.url);
  const byAda = heard(ada);
  await ada.start();
  const publishes = range(10).map((mark) => ada.publish("GRAFT", graft(mark)));
  await publishes[0];
  await lives.kill();
  publishes.push(...range(10, 11).map((mark) => ada.publish("GRAFT", graft(mark))));
  lives = await startServer({ store, port: lives.port });
  await Promise.all(publishes);
  await until(ada, () => byAda.length === 20);
  assert.deepEqual(marksOf(byAda), range(20));
  ada.close();
  await lives.stop();
  rmSync(directory, { recursive: true });
});

test("a token is asked for again before it is too old", async () => {
  const directory = mkdtempSync(join(tmpdir(), "steadywire-"));
  const secret = "0123456789abcdef0123456789abcdef";
  writeFileSync(join(directory, "secret"), secret);
  const guarded = await startServer({ more: ["--secret-file", join(directory, "secret")] });
  let given = 0;
  const token = () => {
    given += 1;
    const now = Math.floor(Date.now() / 1000);
    const parts = [{ alg: "HS256", typ: "JWT" }, { sub: "ada", iat: now, exp: now + 2 }];
    const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
  };
  const runId = await newRun(guarded.url, token());
  given = 0;
  const ada = clientOf("ada", runId, guarded.url, { token: async () => token() });
  await ada.start();
  await ada.connected();
  while (given < 3) await new Promise((resolve) => ada.addEventListener("healthchange", resolve, { once: true }));
  assert.equal(ada.health.value.reconnections, 0);
  assert.equal((await ada.publish("CHAT", { mark: 1 })).sequenceNumber, 1);
  ada.close();
  await guarded.stop();
  rmSync(directory, { recursive: true });
});

test("a loop that is left standing makes the session hold, and misses nothing", async () => {
  const runId = await newRun();
  const ada = clientOf("ada", runId, server.url, { deliveriesMax: 8 });
  const ben = clientOf("ben", runId, server.url);
  await Promise.all([ada.start(), ben.start(), ada.connected(), ben.connected()]);
  const loop = ada.events();
  const first = loop.next();
  for (let wave = 0; wave < 180; wave += 60) { // a batch of events is taken whole, so one wave alone may come before the hold
    await Promise.all(range(60).map((mark) => ben.publish("CHAT", { mark: wave + mark })));
  }
  assert.equal((await ada.publish("CHAT", { mark: 181 })).sequenceNumber, 181, "it can publish while it does not read");
  assert.ok(ada.position.sequenceNumber < 180);
  const marks = [];
  for (let next = await first; ; next = await loop.next()) {
    if (next.value.sequenceNumber !== null) marks.push(next.value.data.mark);
    if (marks.length === 181) break;
  }
  assert.deepEqual(marks, range(181));
  await loop.return();
  for (const client of [ada, ben]) client.close();
});

test("a loop that was left before it began does not make the session hold", async () => {
  const runId = await newRun();
  const ada = clientOf("ada", runId, server.url, { deliveriesMax: 8 });
  const ben = clientOf("ben", runId, server.url);
  await Promise.all([ada.start(), ben.start(), ada.connected(), ben.connected()]);
  assert.deepEqual(await ada.events().return(), { done: true, value: undefined });
  for (let wave = 0; wave < 3; wave++) await Promise.all(range(60).map((mark) => ben.publish("CHAT", { mark })));
  await until(ada, () => ada.position.sequenceNumber === 180);
});

test("a token that was set before the start is the one that is used", async () => {
  const ada = clientOf("ada", await newRun(), server.url);
  ada.setToken("dev:eve");
  await ada.start();
  await until(ada, () => ada.activeUsers.includes("eve"));
});

test("a loop ends with the session, or with its signal", async () => {
  const runId = await newRun();
  const ada = clientOf("ada", runId, server.url);
  await ada.start();
  const leaves = new AbortController();
  const aborted = (async () => {
    for await (const event of ada.events({ signal: leaves.signal })) assert.ok(event);
  })();
  const kinds = (async () => {
    const all = [];
    for await (const delivery of ada) all.push(delivery.kind);
    return all;
  })();
  await ada.publish("CHAT", { mark: 1 });
  leaves.abort(new Error("seen enough"));
  await assert.rejects(aborted, /seen enough/);
  ada.close();
  const all = await kinds;
  assert.ok(all.includes("snapshot") && all.includes("event"));
  assert.equal(all.at(-1), "end");
  assert.equal((await ada[Symbol.asyncIterator]().next()).value.kind, "end");
});

test("what cannot work says so", async () => {
  const runId = await newRun();
  assert.throws(() => clientOf("ada", "run-1", server.url), { name: "ConfigError", message: /UUID/ });
  assert.throws(() => clientOf("ada", runId, "ftp://example.org"), { name: "ConfigError" });
  assert.throws(() => clientOf("ada", runId, undefined), { name: "ConfigError", message: /options\.url/ });
  assert.throws(() => clientOf("ada", runId, server.url, { config: { pingInterval: 1 } }), { name: "ConfigError", message: /pingIntervalS/ });
  assert.throws(() => clientOf("ada", runId, server.url, { token: "två" }), { name: "ConfigError" });
  const ada = clientOf("ada", runId, server.url, { config: { outboxMessagesMax: 2, unansweredMax: 1 } });
  await assert.rejects(ada.publish("GRAFT", {}), { name: "InvalidEvent", message: /data\.position/ });
  await assert.rejects(ada.publish("CHAT", { when: new Date() }), { name: "InvalidEvent", message: /Date/ });
  await assert.rejects(ada.publish("CHAT", { big: 2 ** 60 }), { name: "InvalidEvent", message: /2\^53/ });
  await assert.rejects(ada.publish("CHAT", { text: "\ud800" }), { name: "InvalidEvent" });
  ada.cutNetwork();
  await ada.start();
  const waiting = [ada.publish("CHAT", {}), ada.publish("CHAT", {})];
  await assert.rejects(ada.publish("CHAT", {}), { name: "OutboxFull" });
  const failures = [];
  ada.addEventListener("failed", ({ detail }) => failures.push(detail.code));
  ada.close();
  for (const publish of waiting) await assert.rejects(publish, { name: "PublishFailedError", code: "closed", mayHaveArrived: false });
  assert.deepEqual(failures, ["closed", "closed"]);
  await assert.rejects(ada.publish("CHAT", {}), { name: "SessionClosed" });
  assert.throws(() => ada.moveCursor({}), { name: "SessionClosed" });
  await assert.rejects(ada.connected(), { name: "SessionClosed" });
  assert.equal(ada.health.value.status === "Disconnected" && ada.state, "closed");
});

test("a run that does not exist, and a token that is not taken, end the session", async () => {
  const nowhere = clientOf("ada", randomUUID(), server.url);
  await nowhere.start();
  assert.equal((await nowhere.ended).code, 4404);
  const stranger = clientOf("ada", await newRun(), server.url, { token: "nobody" });
  await stranger.start();
  assert.equal((await stranger.ended).code, 4401);
  await assert.rejects(stranger.replayMissedMessages(), { name: "RequestFailedError", status: 401, code: 4401 });
});

test("an abort signal closes the client, also before it is started", async () => {
  const ends = new AbortController();
  const ada = clientOf("ada", await newRun(), server.url, { signal: ends.signal });
  await ada.start();
  ends.abort();
  assert.equal((await ada.ended).code, null);
  const never = clientOf("ada", await newRun(), server.url, { signal: ends.signal });
  await assert.rejects(never.start(), { name: "SessionClosed" });
});
