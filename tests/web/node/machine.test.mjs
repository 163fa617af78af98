/** The parts of the machine that the fourth world does not judge: rules for data, the codec's refusals, settings, a restored session. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { clientConfig } from "../../../reference/web/machine/config.js";
import { EventRegistry, RunFold, byCodePoint, checkCursor, encodedBytes, isSameJson, utf8Bytes } from "../../../reference/web/machine/events.js";
import { reactionTo } from "../../../reference/web/machine/errors.js";
import { decodeAnswer, decodeProblem, decodeServerFrame, encode } from "../../../reference/web/machine/frames.js";
import { exactSum, qualityOf, qualityScore, summaryOf } from "../../../reference/web/machine/health.js";
import { AfterSilence, EveryInterval, FallBackAfter, FreshnessPoints, FullJitter, MissesInARow, NoPings, PhiAccrual, PhiExponential } from "../../../reference/web/machine/policies.js";
import { ClientSession } from "../../../reference/web/machine/session.js";
import { Timers, ns } from "../../../reference/web/machine/timers.js";

const halves = { uniform: () => 0.5 };
const texts = ["", "plain", "é", "€", "😀", "a😀b€cé", "\u{10ffff}\uffff", "tab\tquote\"back\\slash"];

test("bytes are those of UTF-8", () => {
  for (const text of texts) assert.equal(utf8Bytes(text), Buffer.byteLength(text), text);
  assert.equal(encodedBytes({ a: "é€😀" }), Buffer.byteLength(JSON.stringify({ a: "é€😀" })));
});

test("names are sorted by code point, as Python sorts them", () => {
  const names = ["b", "a", "ab", "\uff01", "\u{1f600}", "\u{1f600}a", "", "\ue000"];
  const expected = [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))); // UTF-8 keeps the order of code points
  assert.deepEqual([...names].sort(byCodePoint), expected);
});

test("JSON values are compared by what they say", () => {
  assert.ok(isSameJson({ a: [1, { b: null }], c: "x" }, { c: "x", a: [1, { b: null }] }));
  for (const [a, b] of [[{ a: 1 }, { a: 1, b: 2 }], [[1], { 0: 1 }], [[1, 2], [1]], [null, {}], ["1", 1], [{ a: undefined }, {}]]) {
    assert.ok(!isSameJson(a, b));
    assert.ok(!isSameJson(b, a));
  }
});

test("data is what every store keeps unchanged, and is copied", () => {
  const registry = new EventRegistry();
  const nested = (depth) => (depth === 0 ? 1 : { in: nested(depth - 1) });
  const bad = [
    null, [], "text", 5, new Map(), new (class Point {})(), { f: () => 1 }, { s: Symbol("s") }, { n: NaN }, { n: Infinity }, { n: 10n }, { u: undefined },
    { a: [1, , 2] }, { t: "\0" }, { "\0": 1 }, { t: "a\ud800" }, { t: "\udc00a" }, { n: 2 ** 53 }, { n: -(2 ** 63) }, { toJSON: () => 1 }, nested(33), { d: new Date() },
  ];
  for (const data of bad) assert.throws(() => registry.checkPublish("CHAT", data), { name: "InvalidEvent" });
  const good = { a: [1, -0.5, true, null, "€😀"], n: 2 ** 53 - 1, big: 1e300, in: nested(30) };
  const copy = registry.checkPublish("CHAT", good);
  assert.deepEqual(copy, good);
  good.a.push("later");
  assert.equal(copy.a.length, 5);
  assert.ok(registry.checkPublish("CHAT", Object.assign(Object.create(null), { a: 1 })));
  assert.ok(registry.checkPublish("GRAFT", { position: "😀".repeat(256) }));
  for (const position of ["", 5, "x".repeat(257), undefined]) {
    assert.throws(() => registry.checkPublish("GRAFT", position === undefined ? {} : { position }), { name: "InvalidEvent" });
  }
  for (const type of ["USER_JOIN", "CURSOR_MOVE", "NEWER", "", 5]) assert.throws(() => registry.checkPublish(type, {}), { name: "InvalidEvent" });
  for (const types of [["GRAFT"], ["CURSOR_MOVE"], [""], ["with space"], ["x".repeat(65)], ["é"]]) {
    assert.throws(() => new EventRegistry(types), { name: "ConfigError" });
  }
  assert.throws(() => checkCursor({ text: "x".repeat(502) }), { name: "InvalidEvent", message: /512/ });
  assert.ok(checkCursor({ text: "x".repeat(501) }));
});

test("the fold is that of the protocol", () => {
  const fold = new RunFold({ grafts: { a: { position: "a", n: 1 } }, prunes: ["z"], flags: [{ f: 1 }] });
  const event = (eventType, data) => ({ eventType, userId: "u", timestamp: 0, sequenceNumber: 1, data, isCritical: true });
  for (const [type, data] of [
    ["GRAFT", { position: "a", n: 2 }], ["GRAFT", { position: "__proto__", n: 3 }], ["PRUNE", { step: "b" }], ["PRUNE", { step: "b" }], ["FLAG", { f: 2 }], ["CHAT", { c: 1 }],
  ]) fold.apply(event(type, data));
  const { grafts, prunes, flags } = fold.state;
  assert.deepEqual(Object.entries(grafts), [["a", { position: "a", n: 2 }], ["__proto__", { position: "__proto__", n: 3 }]]);
  assert.deepEqual([prunes, flags], [["b", "z"], [{ f: 1 }, { f: 2 }]]);
});

test("a message that is no frame is refused with the code to close with", () => {
  const event = { eventType: "CHAT", userId: "u", timestamp: 1, sequenceNumber: 3, data: {}, isCritical: false };
  const bad = [
    "", "{", "[]", "null", "5", '"x"', "{}", '{"type":"garbage"}', '{"type":5}', '{"type":"publish","clientSequence":1}', '{"type":"heartbeat"}',
    '{"type":"heartbeat","head":-1}', '{"type":"heartbeat","head":1.5}', '{"type":"heartbeat","head":"1"}', '{"type":"heartbeat","head":9007199254740994}',
    '{"type":"heartbeat","head":null}', '{"type":"goaway","code":4001,"retryAfterMs":86400001,"spreadMs":0}', '{"type":"pong","nonce":1}',
    '{"type":"presence","joined":null,"serverTime":1}', '{"type":"presence","joined":[5],"serverTime":1}', '{"type":"cursors","moved":{"u":5},"serverTime":1}',
    '{"type":"snapshot","sequenceNumber":1,"state":{"grafts":[]}}', `{"type":"events","events":[${JSON.stringify({ ...event, sequenceNumber: null })}]}`,
    JSON.stringify({ type: "events", events: [event, { ...event, sequenceNumber: 5 }] }), JSON.stringify({ type: "events", events: [{ ...event, sequenceNumber: 0 }] }),
    JSON.stringify({ type: "events", events: [{ ...event, isCritical: 1 }] }), `${"[".repeat(100_000)}${"]".repeat(100_000)}`,
  ];
  for (const text of bad) assert.throws(() => decodeServerFrame(text), { name: "RemoteError", code: 4400 }, text.slice(0, 100));
  assert.throws(() => decodeServerFrame(JSON.stringify({ type: "error", code: 1, message: "€".repeat(3 * 1024 * 1024) })), { name: "RemoteError", code: 4413 });
  assert.throws(() => decodeServerFrame("x".repeat(8 * 1024 * 1024 + 1)), { code: 4413 });
  assert.throws(() => decodeAnswer("poll", '{"runId":"r"}'), { code: 4400 });
  assert.throws(() => decodeAnswer("publishMany", '{"results":[{"type":"welcome"}]}'), { code: 4400 });
  const frame = decodeServerFrame(JSON.stringify({ type: "presence", serverTime: 5, unknown: true }));
  assert.deepEqual(frame, { type: "presence", full: null, joined: [], left: [], serverTime: 5 });
  assert.deepEqual(decodeServerFrame(JSON.stringify({ type: "events", events: [event] })).events, [event]);
  assert.deepEqual(decodeAnswer("publishMany", '{"results":[]}'), { type: "published", results: [], epoch: null });
  assert.deepEqual(decodeProblem('{"code":4030,"message":"full","retryAfterMs":5}'), { code: 4030, message: "full", retryAfterMs: 5 });
  for (const body of ["", "<html>", "{}", '{"code":"4030","message":"full"}']) assert.equal(decodeProblem(body), null);
});

test("what has its default is left out", () => {
  const hello = { type: "hello", protocol: 1, clientId: "c", generation: 1, token: null, sessionId: null, epoch: null, afterSequence: null, start: "snapshot" };
  assert.equal(encode(hello), '{"type":"hello","protocol":1,"clientId":"c"}');
  const messages = [{ clientSequence: 2, eventType: "CHAT", data: {}, after: null }, { clientSequence: 4, eventType: "CHAT", data: {}, after: 2 }];
  assert.equal(
    encode({ type: "publishMany", clientId: "c", generation: 3, messages, cursor: null }),
    '{"type":"publishMany","clientId":"c","generation":3,"messages":[{"clientSequence":2,"eventType":"CHAT","data":{}},{"clientSequence":4,"eventType":"CHAT","data":{},"after":2}]}',
  );
});

test("a setting out of its bounds is refused, with what it must be", () => {
  const bad = { pingIntervalS: 0, pollWaitS: 26, fallbackAfterFailures: 0, unansweredMax: 65, outboxPolicy: "drop", probeJitter: "x", refreshesToken: 1, start: null, retryLimit: 1.5, ackEvents: NaN, pingInterval: 5, toString: 1 };
  for (const [name, value] of Object.entries(bad)) {
    assert.throws(() => clientConfig({ [name]: value }), (error) => error.name === "ConfigError" && error.message.includes(name));
  }
  assert.throws(() => clientConfig({ outboxMessagesMax: 10 }), /unansweredMax/);
  assert.throws(() => clientConfig({ probeIntervalMaxS: 10 }), /probeIntervalS/);
  assert.equal(clientConfig({ fallbackAfterFailures: null }).fallbackAfterFailures, null);
  assert.ok(Object.isFrozen(clientConfig()));
  for (const make of [
    () => new FullJitter({ capS: 0.5 }), () => new FallBackAfter({ failures: 0 }), () => new FallBackAfter({ seconds: 0 }), () => new EveryInterval({ intervalS: 0 }),
    () => new AfterSilence({ silenceS: 20, pauseMaxS: 10 }), () => new NoPings({ silenceMaxS: NaN }),
    () => new MissesInARow({ misses: 0 }), () => new MissesInARow({ intervalS: 1, retryS: 2 }), () => new FreshnessPoints({ intervalS: 1, shiftS: 9 }),
    () => new PhiAccrual({ threshold: 0 }), () => new PhiAccrual({ pauseS: -1 }), () => new PhiExponential({ silenceMaxS: 1 }),
    () => new PhiExponential({ samplesMax: 1 }),
  ]) assert.throws(make, { name: "ConfigError" });
});

test("a code that is not known is judged by its first digits", () => {
  const reactions = { 4001: "resume", 4099: "resume", 4101: "stop", 4102: "new session", 4199: "new session", 4401: "new token", 4400: "stop", 4499: "stop", 1000: "resume", 1006: "resume", 4500: "resume", 0: "resume" };
  for (const [code, reaction] of Object.entries(reactions)) assert.equal(reactionTo(Number(code)), reaction, code);
  assert.equal(reactionTo(null), "resume");
});

test("sums are rounded once", () => {
  assert.equal(exactSum([1e100, 1, -1e100]), 1);
  assert.equal(exactSum([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]), 1);
  assert.equal(exactSum([1, 2 ** -53, 2 ** -106]), 1 + 2 ** -52, "the half is rounded up, for something is below it");
  assert.equal(exactSum([1, 2 ** -53]), 1);
  assert.equal(exactSum([]), 0);
  assert.deepEqual(summaryOf([30, 10, 20]), { samples: 3, meanMs: 20, p50Ms: 20, p95Ms: 29, p99Ms: 29.8 });
  assert.deepEqual([79.9, 80, 50, 49.9, null].map(qualityOf), ["DEGRADED", "HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN"]);
  assert.equal(qualityScore(50, 0, 1), 100);
  assert.equal(qualityScore(1001, 11, 0), 0.4 * 10 + 0.3 * 5);
});

test("halves of a nanosecond go to the even neighbour, and timers that tie fire in the order in which they were set", () => {
  assert.deepEqual([0.5e-9, 1.5e-9, 2.5e-9, 2.6e-9].map(ns), [0, 2, 2, 3]);
  const timers = new Timers();
  timers.set("PING", 5);
  timers.set("PONG", 5);
  timers.set("PING", 5);
  timers.set("ACK", 4);
  timers.set("POLL", 9);
  assert.equal(timers.nextDeadline(), 4);
  assert.deepEqual([timers.popExpired(5), timers.popExpired(5), timers.popExpired(5), timers.popExpired(5)], ["ACK", "PONG", "PING", null]);
});

/** A session with its WebSocket open, and what it sent. */
function opened(session, now = 0) {
  session.start(now);
  const connectionId = session.takeActions().find(({ kind }) => kind === "open").connectionId;
  session.connectionOpened(connectionId, now);
  return connectionId;
}
const sent = (session) => session.takeActions().filter(({ kind }) => kind === "send").map(({ frame }) => frame);
const welcome = (fields) => ({
  type: "welcome", sessionId: "s", epoch: "e", outcome: "resumed", reason: null, oldest: 1, head: 7, afterSequence: 7, lastClientSequence: 3, heartbeatMs: 15_000,
  limits: { frameBytesMax: 65_536, unansweredMax: 64, publishesPerS: 200, silenceMaxMs: null }, retry: { firstSpreadMs: 1000 }, activeUsers: [], cursorPositions: {}, serverTime: 0, ...fields,
});

test("a restored session goes on where the other stopped", () => {
  const message = (ticket, number, fields = {}) => ({ ticket, eventType: "CHAT", data: { ticket }, sizeBytes: 180, queuedAt: -5e9, number, isPerhapsLost: false, tries: 0, ...fields });
  const remembered = {
    generation: 41, sessionId: "s", position: { epoch: "e", last: 7 },
    outbox: { numbering: { nextTicket: 9, nextNumber: 5, lastAccepted: 2 }, messages: [message(8, null), message(6, 4), message(5, 3), message(7, null)] },
  };
  const session = new ClientSession("c", { config: clientConfig(), draws: halves, remembered });
  assert.equal(session.queuedMessages, 4);
  assert.deepEqual(session.pending.map(({ ticket, state }) => [ticket, state]), [[5, "unanswered"], [6, "unanswered"], [7, "queued"], [8, "queued"]]);
  assert.equal(session.nextDeadline(), -5e9 + 600e9, "its age goes on");
  const connectionId = opened(session);
  const [hello] = sent(session);
  assert.deepEqual([hello.generation, hello.sessionId, hello.epoch, hello.afterSequence], [42, "s", "e", 7]);
  session.receiveFrame(connectionId, welcome({}), 0);
  const publishes = sent(session).filter(({ type }) => type === "publish");
  assert.deepEqual(publishes.map(({ clientSequence, data, after }) => [clientSequence, data.ticket, after]), [[3, 5, null], [4, 6, null], [5, 7, null], [6, 8, null]]);
  assert.equal(session.publish("CHAT", {}, 0), 9);
  const changes = session.takeOutboxChanges();
  assert.deepEqual(changes.put.map(({ ticket, number }) => [ticket, number]), [[7, 5], [8, 6], [9, 7]]);
  assert.deepEqual(session.numbering, { nextTicket: 10, nextNumber: 8, lastAccepted: 2 });
  session.receiveFrame(connectionId, { type: "accepted", clientSequence: 3, sequenceNumber: 6, duplicate: true }, 0);
  assert.deepEqual(session.takeOutboxChanges(), { put: [], removed: [5] });
  assert.equal(session.takeOutboxChanges(), null);
  session.takeOutcomes();
  session.close(0);
  const failed = session.takeOutcomes().filter(({ kind }) => kind === "failed");
  assert.deepEqual(failed.map(({ ticket, mayHaveArrived }) => [ticket, mayHaveArrived]), [[6, true], [7, true], [8, true], [9, true]]);
  assert.deepEqual(session.takeOutboxChanges(), { put: [], removed: [6, 7, 8, 9] });
});

test("a restored message that is too old fails at once, and may have arrived if it had a number", () => {
  const message = (ticket, number) => ({ ticket, eventType: "CHAT", data: {}, sizeBytes: 180, queuedAt: -700e9, number, isPerhapsLost: false, tries: 0 });
  const outbox = { numbering: { nextTicket: 3, nextNumber: 2, lastAccepted: 0 }, messages: [message(1, 1), message(2, null)] };
  const session = new ClientSession("c", { config: clientConfig(), draws: halves, remembered: { generation: 1, sessionId: null, position: null, outbox } });
  session.start(0);
  session.handleTimeout(0);
  const failed = session.takeOutcomes().filter(({ kind }) => kind === "failed");
  assert.deepEqual(failed.map(({ ticket, code, mayHaveArrived }) => [ticket, code, mayHaveArrived]), [[1, "expired", true], [2, "expired", false]]);
});

test("the network of this machine returns: the next attempt does not wait for its time, but for the server's", () => {
  const session = new ClientSession("c", { config: clientConfig(), draws: { uniform: (purpose) => (purpose === "network_returned" ? 0.25 : 0.99) } });
  const first = opened(session);
  session.connectionLost(first, null, 0);
  assert.ok(session.nextDeadline() > 1e9);
  assert.deepEqual(session.nextAttempt, { kind: "websocket", at: session.nextDeadline() });
  session.networkReturned(0);
  assert.equal(session.nextDeadline(), 0.25e9);
  session.handleTimeout(0.25e9);
  const second = session.takeActions().find(({ kind }) => kind === "open").connectionId;
  session.connectionLost(second, null, 1e9, { retryAfterMs: 20_000 });
  const waitsUntil = session.nextDeadline();
  assert.ok(waitsUntil > 21e9, "the wait that was asked for, and then the policy's");
  for (const now of [1e9, 20.9e9, 21.1e9]) {
    session.networkReturned(now);
    assert.equal(session.nextDeadline(), waitsUntil);
  }
});

test("a page that was left: the WebSocket is lost, polling begins anew", () => {
  const session = new ClientSession("c", { config: clientConfig({ fallbackAfterFailures: 1 }), draws: halves });
  session.connectionLost(opened(session), null, 0);
  assert.equal(session.state, "polling");
  const opens = (actions) => actions.filter(({ kind }) => kind === "open").map(({ connectionId }) => connectionId);
  const [polling] = opens(session.takeActions());
  session.networkLost(5e6, "left");
  const actions = session.takeActions();
  assert.deepEqual(actions.filter(({ kind }) => kind === "close").map(({ connectionId }) => connectionId), [polling]);
  assert.equal(opens(actions).length, 1);
  assert.equal(session.state, "polling");
});

test("a page that was left ends no wait after a request that failed", () => {
  const session = new ClientSession("c", { config: clientConfig({ fallbackAfterFailures: 1, probeIntervalS: 300 }), draws: halves });
  session.connectionLost(opened(session), null, 0);
  session.handleTimeout(0);
  const [polling] = session.takeActions().filter(({ kind }) => kind === "open").map(({ connectionId }) => connectionId);
  session.receiveFrame(polling, { type: "requestFailed", request: "poll", code: null, message: "", retryAfterMs: null }, 1e9);
  session.networkLost(1.5e9, "left");
  assert.deepEqual(session.nextAttempt, { kind: "poll", at: 3e9 });
});

test("every growing thing has a limit, and pings beyond the eighth are forgotten", () => {
  const session = new ClientSession("c", { config: clientConfig(), draws: halves });
  assert.equal(session.ping(0), null, "no WebSocket, no ping");
  const connectionId = opened(session);
  session.receiveFrame(connectionId, welcome({ outcome: "fresh", head: 0, afterSequence: 0 }), 0);
  for (let i = 0; i < 20; i++) assert.equal(session.ping(i), i + 1);
  for (const { what, length, limit } of session.held()) assert.ok(length <= limit, what);
});
