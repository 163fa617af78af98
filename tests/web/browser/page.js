/** The page of the tests: one client, and what it was told. What it needs to know stands in the page's address. */

import { ConnectionStore, RunClient } from "/web/index.js";

const { run, server, user, config } = Object.fromEntries(new URLSearchParams(location.search));
const client = new RunClient(run, { url: server, token: `dev:${user}`, account: user, types: ["CHAT", "NOTE"], config: JSON.parse(config) }); // the server knows no NOTE
const told = { marks: [], accepted: [], snapshots: [], failures: [], storageErrors: [], shownAgain: 0 };
client.addEventListener("event", ({ detail }) => detail.sequenceNumber !== null && told.marks.push(detail.data.mark));
client.addEventListener("accepted", ({ detail }) => told.accepted.push(detail.sequenceNumber));
client.addEventListener("snapshot", ({ detail }) => told.snapshots.push(detail.reason));
client.addEventListener("storageerror", ({ detail }) => told.storageErrors.push(detail.message));
client.addEventListener("failureschange", ({ detail }) => told.failures.push(detail.failures.length));
addEventListener("pageshow", ({ persisted }) => (told.shownAgain += Number(persisted)));
Object.assign(globalThis, { client, told, store: new ConnectionStore(client) });
globalThis.publishMarks = (from, to) => {
  for (let mark = from; mark <= to; mark++) void client.publish("GRAFT", { position: `step-${mark}`, mark });
};
await client.start();
document.title = "started";
