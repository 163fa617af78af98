/** The page of the tests: one client, and the events that it has seen. Its settings are in the URL. */

import { ConnectionStore, RunClient } from "/web/index.js";

const { run, server, user, config } = Object.fromEntries(new URLSearchParams(location.search));
const client = new RunClient(run, { url: server, token: `dev:${user}`, account: user, types: ["CHAT", "NOTE"], config: JSON.parse(config) }); // the server knows no NOTE
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
