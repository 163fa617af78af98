/** Everything public of the browser client. docs/browser.md says how to use it. */

export { RunClient, createRun, NotConnectedError, PublishFailedError } from "./client/run_client.js";
export { RequestFailedError } from "./client/rest.js";
export { ConnectionStore } from "./client/store.js";
export { signal } from "./client/signal.js";
export { ConfigError, InvalidEvent, LocalError, OutboxFull, SessionClosed, SteadywireError } from "./machine/errors.js";
export { AfterSilence, EveryInterval, FallBackAfter, FreshnessPoints, FullJitter, MissesInARow, NoPings, PhiAccrual, PhiExponential } from "./machine/policies.js";
