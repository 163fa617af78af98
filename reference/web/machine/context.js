/** The shared context of one client session's parts: settings, timers, and the two output queues that the driver drains. */

import { ReportTally } from "./report.js";
import { Timers } from "./timers.js";

/**
 * @typedef {import("./config.js").ClientConfig} ClientConfig
 * @typedef {import("./events.js").Data} Data
 * @typedef {import("./events.js").RunEvent} RunEvent
 * @typedef {import("./events.js").RunState} RunState
 * @typedef {import("./frames.js").ClientFrame} ClientFrame
 * @typedef {import("./frames.js").RequestFrame} RequestFrame
 * @typedef {import("./frames.js").ResetReason} ResetReason
 * @typedef {import("./states.js").ClientState} ClientState
 * @typedef {import("./states.js").Transport} Transport
 *
 * Actions for the driver, in order; it decides nothing. A connection is named by a number that is never used again. On a polling
 * connection requests may follow at once; a WebSocket is reported as opened or lost. Close with a null code: cut it, the peer does not
 * answer. Nothing is to be reported about a connection that was closed.
 * @typedef {{ kind: "open", connectionId: number, transport: Transport, token: string | null }
 *   | { kind: "send", connectionId: number, frame: ClientFrame | RequestFrame }
 *   | { kind: "close", connectionId: number, code: number | null, message: string }
 *   | { kind: "refreshToken" }} Action
 *
 * Outcomes for the application, in order. A sequenced event is never skipped without a snapshot or a reset in its place.
 * @typedef {{ kind: "snapshot" | "reset", epoch: string, sequenceNumber: number, state: RunState,
 *   reason: ResetReason | null }} StateReceived
 * @typedef {{ kind: "accepted", ticket: number, sequenceNumber: number, duplicate: boolean, epoch: string | null }} PublishAccepted
 * @typedef {{ kind: "failed", ticket: number, eventType: string, data: Data, code: string, message: string,
 *   mayHaveArrived: boolean }} PublishFailed
 * @typedef {{ kind: "event", event: RunEvent }
 *   | StateReceived | PublishAccepted | PublishFailed
 *   | { kind: "state", state: ClientState, isCarried: boolean }
 *   | { kind: "notConnected", code: number | null, reason: string }
 *   | { kind: "end", code: number | null, message: string }} Outcome
 */

export class Context {
  timers = new Timers();
  report = new ReportTally();
  /** @type {Action[]} */
  actions = [];
  /** @type {Outcome[]} */
  outcomes = [];

  /** @param {Readonly<ClientConfig>} config */
  constructor(config) {
    this.config = config;
  }

  /** @param {readonly RunEvent[]} events */
  handOver(events) {
    for (const event of events) this.outcomes.push({ kind: "event", event });
  }
}
