/**
 * The two transports: a WebSocket, and HTTP requests with fetch. Each connection is opened once and reports the network's events.
 *
 * A connection reports nothing from within a call of the driver, and nothing after it was closed. The page's own network can be cut
 * (`NetworkSwitch`): then open connections are lost, and none opens until it is restored.
 */

import { CloseCode, RemoteError } from "../machine/errors.js";
import {
  SERVER_FRAME_BYTES_MAX,
  SUBPROTOCOL,
  decodeAnswer,
  decodeProblem,
  decodeServerFrame,
  encode,
  withoutDefaults,
} from "../machine/frames.js";
import { utf8Bytes } from "../machine/events.js";

/**
 * @typedef {import("../machine/frames.js").AnswerFrame} AnswerFrame
 * @typedef {import("../machine/frames.js").ClientFrame} ClientFrame
 * @typedef {import("../machine/frames.js").RequestFailed} RequestFailed
 * @typedef {import("../machine/frames.js").RequestFrame} RequestFrame
 * @typedef {import("../machine/frames.js").RequestKind} RequestKind
 * @typedef {import("../machine/frames.js").ServerFrame} ServerFrame
 *
 * @typedef {{ WebSocket: typeof WebSocket, fetch: typeof fetch }} Transports
 *
 * @typedef {object} Reports
 * @property {(id: number) => void} opened
 * @property {(id: number, code: number | null, message: string) => void} lost
 * @property {(id: number, frame: ServerFrame | AnswerFrame) => void} arrived
 * @property {(id: number, error: RemoteError) => void} malformed
 * @property {(id: number, request: RequestKind | null) => void} bytesCame
 *
 * @typedef {object} Connection
 * @property {(frame: ClientFrame | RequestFrame) => void} send
 * @property {(code: number | null, message: string) => void} close report nothing more
 * @property {(message: string) => void} sever the network has gone: report the loss, of each request if it is HTTP
 */

const NO_CODE = [1005, 1006]; // WebSocket's own words for a close without a code
const CLOSE_REASON_BYTES_MAX = 123;
const RETRY_AFTER_MS_MAX = 86_400_000; // 5.7
const BYTES_REPORTED_EVERY_MS = 100;
const CUT = "this page has cut its own network";

/** The page's own network, which it can cut. */
export class NetworkSwitch {
  #transports;
  /** @type {Set<(message: string) => void>} how to sever each open connection or request */
  #open = new Set();
  isCut = false;

  /** @param {Transports} transports */
  constructor(transports) {
    this.#transports = transports;
  }

  cut() {
    this.isCut = true;
    this.severAll(CUT);
  }

  restore() {
    this.isCut = false;
  }

  /**
   * All open connections are lost.
   *
   * @param {string} message
   */
  severAll(message) {
    for (const sever of [...this.#open]) sever(message);
  }

  /**
   * @param {(message: string) => void} sever
   * @returns {() => void} how to say that it is no longer open
   */
  add(sever) {
    this.#open.add(sever);
    return () => this.#open.delete(sever);
  }

  /**
   * @param {string} url
   * @returns {WebSocket | null} null: the network is cut, or the browser refuses to try
   */
  connect(url) {
    if (this.isCut) return null;
    const { WebSocket } = this.#transports;
    return new WebSocket(url, SUBPROTOCOL); // 3.1
  }

  /**
   * As `fetch`; it can be severed until its body was read by `read`.
   *
   * @template T
   * @param {string} url
   * @param {RequestInit} init
   * @param {(response: Response) => Promise<T>} read
   * @returns {Promise<T>}
   */
  async fetch(url, init, read) {
    if (this.isCut) throw new TypeError(CUT);
    const severed = new AbortController();
    const remove = this.add((message) => severed.abort(new TypeError(message)));
    const signal = init.signal ? AbortSignal.any([init.signal, severed.signal]) : severed.signal;
    try {
      return await read(await this.#transports.fetch(url, { ...init, signal }));
    } catch (error) {
      throw severed.signal.aborted ? severed.signal.reason : error;
    } finally {
      remove();
    }
  }
}

/** One WebSocket (protocol 3). @implements {Connection} */
export class WebSocketConnection {
  #id;
  #token;
  #reports;
  /** @type {WebSocket | null} */
  #socket = null;
  #isOver = false;
  /** @type {() => void} */
  #remove = () => {};

  /**
   * @param {number} id
   * @param {string} url
   * @param {string | null} token
   * @param {NetworkSwitch} network
   * @param {Reports} reports
   */
  constructor(id, url, token, network, reports) {
    this.#id = id;
    this.#token = token;
    this.#reports = reports;
    this.#remove = network.add((message) => this.sever(message));
    try {
      this.#socket = network.connect(url);
    } catch (error) {
      queueMicrotask(() => this.#lose(null, `the browser refuses to connect: ${textOf(error)}`));
      return;
    }
    if (this.#socket === null) {
      queueMicrotask(() => this.#lose(null, CUT));
      return;
    }
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = ({ data }) => this.#received(data);
    this.#socket.onclose = ({ code, reason }) => {
      const isCode = !NO_CODE.includes(code);
      this.#lose(isCode ? code : null, reason || (isCode ? `closed with ${code}` : "the connection was lost, or refused"));
    };
  }

  /** @param {ClientFrame | RequestFrame} frame */
  send(frame) {
    if (this.#isOver || this.#socket?.readyState !== 1) return; // a frame on a closing socket is lost anyway
    this.#socket.send(encode(frame.type === "hello" ? { ...frame, token: this.#token } : frame)); // 3.4
  }

  /**
   * @param {number | null} code
   * @param {string} message
   */
  close(code, message) {
    this.#end();
    if (code === null)
      this.#socket?.close(); // a page cannot cut a socket: it starts a close and listens no more
    else this.#socket?.close(code, shortened(message));
  }

  /** @param {string} message */
  sever(message) {
    if (this.#isOver) return;
    this.#end();
    this.#socket?.close();
    queueMicrotask(() => this.#reports.lost(this.#id, null, message));
  }

  #opened() {
    if (this.#isOver) return;
    if (this.#socket?.protocol !== SUBPROTOCOL) {
      this.#socket?.close();
      this.#lose(null, `the server's WebSocket does not speak ${SUBPROTOCOL}`); // 3.1
    } else this.#reports.opened(this.#id);
  }

  /** @param {unknown} data */
  #received(data) {
    if (this.#isOver) return; // 3.11
    let frame;
    try {
      if (typeof data !== "string") throw new RemoteError(CloseCode.BAD_FRAME, "a binary message; frames are text"); // 3.2
      frame = decodeServerFrame(data);
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error;
      this.#reports.malformed(this.#id, error);
      return;
    }
    this.#reports.arrived(this.#id, frame);
  }

  /**
   * @param {number | null} code
   * @param {string} message
   */
  #lose(code, message) {
    if (this.#isOver) return;
    this.#end();
    this.#reports.lost(this.#id, code, message);
  }

  #end() {
    this.#isOver = true;
    this.#remove();
  }
}

/** Requests over HTTP, each with one answer (protocol 5). @implements {Connection} */
export class PollingConnection {
  #id;
  #url;
  #token;
  #network;
  #reports;
  #nowMs;
  #closed = new AbortController();

  /**
   * @param {number} id
   * @param {string} url of the run's collaboration
   * @param {string | null} token
   * @param {NetworkSwitch} network
   * @param {Reports} reports
   * @param {() => number} nowMs
   */
  constructor(id, url, token, network, reports, nowMs) {
    this.#id = id;
    this.#url = url;
    this.#token = token;
    this.#network = network;
    this.#reports = reports;
    this.#nowMs = nowMs;
  }

  /** @param {ClientFrame | RequestFrame} frame */
  send(frame) {
    const request = /** @type {RequestFrame} */ (frame);
    this.#ask(request).then(
      (answer) => this.#isOver || this.#reports.arrived(this.#id, answer),
      (error) => {
        if (this.#isOver) return;
        if (error instanceof RemoteError) this.#reports.malformed(this.#id, error);
        else this.#reports.arrived(this.#id, failed(request.type, `the request failed: ${textOf(error)}`));
      },
    );
  }

  /** @type {Connection["close"]} */
  close() {
    this.#closed.abort();
  }

  /** @type {Connection["sever"]} */
  sever() {} // the network severs each request

  get #isOver() {
    return this.#closed.signal.aborted;
  }

  /**
   * @param {RequestFrame} request
   * @returns {Promise<AnswerFrame>}
   */
  #ask(request) {
    /** @type {RequestInit} */
    const init = {
      signal: this.#closed.signal,
      headers: headersOf(this.#token),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    };
    let url = `${this.#url}/publish`;
    if (request.type === "poll")
      url = `${this.#url}/poll?${parametersOf(request)}`; // 4.21
    else {
      init.method = "POST";
      init.headers = { ...init.headers, "Content-Type": "application/json" };
      init.body = encode(request);
    }
    let reportedAt = -Infinity;
    const bytesCame = () => {
      if (this.#isOver || this.#nowMs() - reportedAt < BYTES_REPORTED_EVERY_MS) return;
      reportedAt = this.#nowMs();
      this.#reports.bytesCame(this.#id, request.type);
    };
    return this.#network.fetch(url, init, async (response) => {
      const body = await textWithin(response, bytesCame);
      if (response.status === 200) return decodeAnswer(request.type, body);
      const { code, message, retryAfterMs } = refusalOf(response, body);
      return failed(request.type, message, code, retryAfterMs);
    });
  }
}

/**
 * Read an answer that is not a success. A code is accepted only from a body in the protocol's form, because proxies between client
 * and server send their own answers (5.7).
 *
 * @param {Response} response
 * @param {string} body
 */
export function refusalOf(response, body) {
  const seconds = response.headers.get("Retry-After")?.trim() ?? "";
  const retryAfterMs = /^\d{1,9}$/.test(seconds) ? Math.min(Number(seconds) * 1000, RETRY_AFTER_MS_MAX) : null;
  const problem = decodeProblem(body);
  if (problem === null || problem.code < 4000 || problem.code > 4999) {
    return { code: null, message: `HTTP status ${response.status}, not from a server of this protocol`, retryAfterMs };
  }
  const asked = problem.retryAfterMs;
  const waitMs = asked === null ? retryAfterMs : Math.max(0, Math.min(asked, RETRY_AFTER_MS_MAX));
  return { code: problem.code, message: problem.message, retryAfterMs: waitMs };
}

/**
 * The body as text; a larger body than a client accepts raises RemoteError before it has arrived completely (3.2).
 *
 * @param {Response} response
 * @param {() => void} bytesCame
 */
export async function textWithin(response, bytesCame = () => {}) {
  if (response.body === null) return "";
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let bytes = 0;
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytesCame();
    bytes += value.byteLength;
    if (bytes > SERVER_FRAME_BYTES_MAX) {
      await reader.cancel();
      throw new RemoteError(CloseCode.TOO_BIG, `an answer of more than ${SERVER_FRAME_BYTES_MAX} bytes`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

/**
 * @param {string | null} token
 * @returns {Record<string, string>}
 */
export function headersOf(token) {
  return token === null ? {} : { Authorization: `Bearer ${token}` }; // 5.1
}

/**
 * @param {import("../machine/frames.js").PollRequest} request
 */
function parametersOf(request) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(withoutDefaults(request))) {
    if (name !== "type") parameters.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return parameters;
}

/**
 * @param {RequestKind} request
 * @param {string} message
 * @param {number | null} code
 * @param {number | null} retryAfterMs
 * @returns {RequestFailed}
 */
function failed(request, message, code = null, retryAfterMs = null) {
  return { type: "requestFailed", request, code, message, retryAfterMs };
}

/** @param {string} message */
function shortened(message) {
  let text = message.slice(0, CLOSE_REASON_BYTES_MAX);
  while (utf8Bytes(text) > CLOSE_REASON_BYTES_MAX) text = [...text].slice(0, -1).join("");
  return text;
}

/** @param {unknown} error */
export function textOf(error) {
  return error instanceof Error ? error.message || error.name : String(error);
}
