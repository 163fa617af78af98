/**
 * Plays recorded sessions through the browser client's machine, and prints the result of each input as one line of JSON.
 *
 * On standard input: for each session one line with how it was made, then one line for each input (see recording.py).
 */

import { createInterface } from "node:readline";

import { clientConfig } from "../../reference/web/machine/config.js";
import { LocalError, RemoteError } from "../../reference/web/machine/errors.js";
import { EventRegistry } from "../../reference/web/machine/events.js";
import { decodeAnswer, decodeServerFrame, withoutDefaults } from "../../reference/web/machine/frames.js";
import { AfterSilence, EveryInterval, FallBackAfter, FreshnessPoints, FullJitter, MissesInARow, NoPings, PhiAccrual, PhiExponential } from "../../reference/web/machine/policies.js";
import { ClientSession } from "../../reference/web/machine/session.js";

const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const camelFields = (fields) => Object.fromEntries(Object.entries(fields).map(([name, value]) => [camel(name), value]));

const FALLBACKS = {
  after_failures: ({ failures }) => new FallBackAfter({ failures }),
  after_seconds: ({ seconds }) => new FallBackAfter({ failures: null, seconds }),
  after_either: ({ failures, seconds }) => new FallBackAfter({ failures, seconds }),
  never_fall_back: () => new FallBackAfter({ failures: null }),
};
const KEEPALIVES = {
  every_interval: (fields) => new EveryInterval(fields),
  after_silence: (fields) => new AfterSilence(fields),
  no_pings: (fields) => new NoPings(fields),
  misses_in_a_row: (fields) => new MissesInARow(fields),
  freshness_points: (fields) => new FreshnessPoints(fields),
  phi_accrual: (fields) => new PhiAccrual(fields),
  phi_exponential: (fields) => new PhiExponential(fields),
};

/** As Python writes them. */
const NUMBERS = { nan: NaN, inf: Infinity, "-inf": -Infinity };

/** One session, and the chance that its Python twin has taken. */
class Player {
  #chance = [];
  #session;

  constructor({ clientId, config, policy, fallback, heartbeat, types, token }) {
    this.#session = new ClientSession(clientId, {
      config: clientConfig(camelFields(config)),
      draws: { uniform: (purpose, index) => this.#take(purpose, index) },
      reconnect: policy === null ? { waitS: ({ failures }) => this.#take("policy", failures) } : new FullJitter(camelFields(policy)),
      fallback: fallback === null ? undefined : FALLBACKS[fallback.kind](fallback),
      keepalive: heartbeat === null ? undefined : KEEPALIVES[heartbeat.kind](camelFields(heartbeat)),
      registry: new EventRegistry(types),
      token,
    });
  }

  #take(purpose, index) {
    const next = this.#chance.shift();
    if (next?.[0] !== purpose || next[1] !== index) throw new Error(`draws ${purpose} ${index}; the other drew ${next}`);
    return next[2];
  }

  play({ verb, arguments: args, chance }) {
    this.#chance = chance;
    let raises = null;
    try {
      this.#feed(verb, args);
    } catch (error) {
      if (!(error instanceof LocalError)) throw error;
      raises = error.name;
    }
    if (this.#chance.length > 0) throw new Error(`the other drew ${this.#chance} too`);
    return this.#result(raises);
  }

  #feed(verb, { now, ...args }) {
    const session = this.#session;
    switch (verb) {
      case "start": return session.start(now);
      case "publish": return session.publish(args.event_type, args.data, now);
      case "move_cursor": return session.moveCursor(args.data, now);
      case "hold_events": return session.holdEvents();
      case "release_events": return session.releaseEvents(now);
      case "close": return session.close(now);
      case "handle_token": return session.handleToken(args.token, now);
      case "connection_opened": return session.connectionOpened(args.connection_id, now);
      case "connection_lost":
        return session.connectionLost(args.connection_id, args.code, now, { message: args.message, retryAfterMs: args.retry_after_ms ?? null });
      case "network_returned": return session.networkReturned(now);
      case "bytes_received": return session.bytesReceived(args.connection_id, now, args.request ?? null);
      case "receive_frame": return session.receiveFrame(args.connection_id, decoded(args.frame), now);
      case "receive_malformed":
        return session.receiveMalformed(args.connection_id, new RemoteError(args.error.code, args.error.message), now);
      case "handle_timeout": return session.handleTimeout(now);
      default: throw new Error(`no such verb as ${verb}`);
    }
  }

  #result(raises) {
    const session = this.#session;
    const { epoch, last } = session.position;
    return {
      raises,
      actions: session.takeActions().map(({ message: _, ...action }) =>
        action.kind === "send" ? { ...action, frame: withoutDefaults(action.frame) } : action,
      ),
      outcomes: session.takeOutcomes().map(withoutText),
      deadline: session.nextDeadline(),
      state: session.state,
      position: [epoch, last],
      sessionId: session.sessionId,
      users: session.activeUsers,
      cursors: Object.fromEntries(session.cursors),
      health: { ...session.health(), lastError: session.health().lastError !== null },
      held: session.held().map(({ what, length }) => [what, length]),
    };
  }
}

function withoutText(outcome) {
  const { message: _, reason: _reason, ...rest } = outcome;
  if (outcome.kind === "snapshot" || outcome.kind === "reset") return outcome; // their reason is a code
  if (outcome.kind === "failed") {
    const { eventType: _type, data: _data, ...failed } = rest; // the Python outcome has the ticket only
    return failed;
  }
  return rest;
}

/** What came over the wire, through the codec; what the polling transport says itself, with its defaults. */
function decoded(frame) {
  const text = JSON.stringify(frame);
  if (frame.type === "polled") return decodeAnswer("poll", text);
  if (frame.type === "published") return decodeAnswer("publishMany", text);
  if (frame.type === "requestFailed") return { code: null, message: "", retryAfterMs: null, ...frame };
  try {
    return decodeServerFrame(text);
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    return frame; // a client's frame, which some test lets a server say: the machine has to refuse it
  }
}

let player = null;
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const said = JSON.parse(line, (_, value) => (typeof value?.$notJson === "string" ? NUMBERS[value.$notJson] : value));
  if ("clientId" in said) {
    player = new Player(said);
    continue;
  }
  let result;
  try {
    result = player.play(said);
  } catch (error) {
    result = { broken: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
