/** The page of the tests: one client, and the events that it has seen. Its settings are in the URL. */

import { PageClock } from "/web/client/clock.js";
import { ConnectionStore, RunClient } from "/web/index.js";

const { run, server, user, config } = Object.fromEntries(new URLSearchParams(location.search));
/** Waits for the storage no longer than a test does. */
class Clock extends PageClock {
  setTimer(ms, ring) {
    return super.setTimer(ms === 10_000 ? (globalThis.storageMs ?? ms) : ms, ring);
  }
}
const options = { url: server, token: `dev:${user}`, account: user, config: JSON.parse(config), clock: new Clock() };
const client = new RunClient(run, { ...options, types: ["CHAT", "NOTE"] }); // the server knows no NOTE
const seen = { marks: [], accepted: [], snapshots: [], failures: [], storageErrors: [], shownAgain: 0 };
client.addEventListener("event", ({ detail }) => detail.sequenceNumber !== null && seen.marks.push(detail.data.mark));
client.addEventListener("accepted", ({ detail }) => seen.accepted.push(detail.sequenceNumber));
client.addEventListener("snapshot", ({ detail }) => seen.snapshots.push(detail.reason));
client.addEventListener("storageerror", ({ detail }) => seen.storageErrors.push(detail.message));
client.addEventListener("failureschange", ({ detail }) => seen.failures.push(detail.failures.length));
addEventListener("pageshow", ({ persisted }) => (seen.shownAgain += Number(persisted)));
Object.assign(globalThis, { client, seen, store: new ConnectionStore(client) });
globalThis.publishMarks = (from, to) => {
  for (let mark = from; mark <= to; mark++) void client.publish("GRAFT", { position: `step-${mark}`, mark });
};
await client.start();
document.title = "started";
