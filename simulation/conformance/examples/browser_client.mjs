/**
 * The browser client as a program that the conformance kit can judge, in Node 22 or newer.
 *
 *     steadywire conformance --client "node simulation/conformance/examples/browser_client.mjs"
 *
 * Node 20 and 21 need `node --experimental-websocket`. Options change the client's settings, which the first line then tells the kit:
 * `--set ping_interval_s=2`. The client is the one that pages load; only the page around it is missing.
 */

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { RunClient } from "../../../reference/web/index.js";

const END_MS_MAX = 2000; // for the last frames to leave

const { STEADYWIRE_URL: url, STEADYWIRE_RUN: run, STEADYWIRE_TOKEN: firstToken } = process.env;
if (!url || !run || !firstToken) {
  process.stderr.write("STEADYWIRE_URL, STEADYWIRE_RUN and STEADYWIRE_TOKEN are not set: start this program by `steadywire conformance --client`\n");
  process.exit(2);
}

/** One line on standard output. A pipe is written at once. */
const report = (name, content) => process.stdout.write(`${JSON.stringify({ [name]: content })}\n`);

const settings = settingsOf(parseArgs({ options: { set: { type: "string", multiple: true, default: [] } } }).values.set);
const wanted = []; // who waits for a token of the kit
let tokens = 0;

const client = new RunClient(run, {
  url,
  storage: "memory",
  config: inCamelCase(settings),
  token: () => {
    tokens += 1;
    if (tokens === 1) return firstToken;
    report("token", {});
    return new Promise((resolve) => wanted.push(resolve));
  },
});
client.addEventListener("event", ({ detail }) => report("event", detail));
client.addEventListener("snapshot", ({ detail }) => report("snapshot", detail));
client.addEventListener("reset", ({ detail }) => report("reset", detail));

const lines = createInterface({ input: process.stdin });
void client.ended.then(({ code }) => {
  report("ended", { code }); // after the failure of each publish
  lines.close();
  process.stdin.destroy();
  setTimeout(() => process.exit(), END_MS_MAX).unref();
});

// A page is not shown why an upgrade was refused (protocol 5.7), and neither is this program.
report("ready", { settings: { ...settings, sees_refused_upgrades: false } });
await client.start();
for await (const line of lines) if (line.trim() !== "") obey(JSON.parse(line));
client.close();

function obey(command) {
  const [[name, content]] = Object.entries(command);
  switch (name) {
    case "publish":
      client.publish(content.eventType, content.data).then(
        ({ sequenceNumber }) => report("accepted", { tag: content.tag, sequenceNumber }),
        // One that was not even queued has no code of the protocol.
        ({ code = "refused", mayHaveArrived = false }) => report("failed", { tag: content.tag, code, mayHaveArrived }),
      );
      break;
    case "cursor":
      client.moveCursor(content);
      break;
    case "token":
      for (const resolve of wanted.splice(0)) resolve(content);
      break;
    case "close":
      client.close();
      break;
    default:
      throw new Error(`the kit has no command ${name}`);
  }
}

/** `["ping_interval_s=2"]` as an object; values are JSON. */
function settingsOf(texts) {
  return Object.fromEntries(texts.map((text) => [text.slice(0, text.indexOf("=")), JSON.parse(text.slice(text.indexOf("=") + 1))]));
}

/** The names of protocol 9.2 as the browser client has them. */
function inCamelCase(named) {
  return Object.fromEntries(
    Object.entries(named).map(([name, value]) => [name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()), value]),
  );
}
