/**
 * Identities in IndexedDB, owned by Web Locks.
 *
 *     identities   slot -> client id, generation, session id, numbering
 *     positions    slot -> epoch, number, state of the run
 *     messages     [slot, ticket] -> one publish
 *     failures     [key, id] -> one publish that was given up; of all slots of the key, since any tab may show it
 *
 * A slot is `key#n`: a key has up to SLOTS_MAX of them, for so many tabs of one run. A tab takes again the slot that it had before a
 * reload (it waits a moment for it, since the old page's lock may outlive the page a little), else one that has messages and no owner,
 * else the first free one. An identity that nobody has used for a week is deleted.
 */

/**
 * @typedef {import("./storage.js").Changes} Changes
 * @typedef {import("./storage.js").Failure} Failure
 * @typedef {import("./storage.js").Lease} Lease
 * @typedef {import("./storage.js").StateStorage} StateStorage
 * @typedef {import("./storage.js").StoredState} StoredState
 * @typedef {import("./storage.js").KeptMessage} KeptMessage
 */

const DATABASE = "steadywire";
const VERSION = 2;
/** Each store with its key. */
const KEYS = { identities: "slot", positions: "slot", messages: ["slot", "ticket"], failures: ["key", "id"] };
const STORES = Object.keys(KEYS);
const SLOTS_MAX = 16;
const OWN_SLOT_MS_MAX = 2000;
const UNUSED_MS_MAX = 7 * 86_400_000;

/** Slots of clients in this very page: a second client of the run does not wait for the slot of the first. @type {Set<string>} */
const ownedHere = new Set();

/** @implements {StateStorage} */
export class IndexedDbStorage {
  /** @param {string} key */
  async acquire(key) {
    const database = await opened();
    try {
      const remembered = ownSlot(key);
      if (remembered !== null && !ownedHere.has(remembered)) {
        const lock = await lockOf(remembered, OWN_SLOT_MS_MAX);
        if (lock !== null) return new SlotLease(database, remembered, key, lock);
      }
      await deleteUnused(database);
      for (const slot of await slotsByNeed(database, key)) {
        const lock = await lockOf(slot, 0);
        if (lock !== null) return new SlotLease(database, slot, key, lock);
      }
    } catch (error) {
      database.close();
      throw error;
    }
    database.close();
    throw new Error(`${SLOTS_MAX} tabs of this run are open already; this one cannot keep its queue`);
  }
}

/** @implements {Lease} */
class SlotLease {
  #database;
  #slot;
  #key;
  #unlock;
  #owner = randomText(); // each owner of the slot leaves its mark, so a page that comes back knows whether it is still the owner
  isKept = true;

  /**
   * @param {IDBDatabase} database
   * @param {string} slot
   * @param {string} key
   * @param {() => void} unlock
   */
  constructor(database, slot, key, unlock) {
    this.#database = database;
    this.#slot = slot;
    this.#key = key;
    this.#unlock = unlock;
    this.#isOwned();
  }

  #isOwned() {
    const isFirst = ![...ownedHere].some((slot) => slot.startsWith(`${this.#key}#`));
    ownedHere.add(this.#slot);
    if (isFirst) rememberSlot(this.#key, this.#slot);
  }

  /** @returns {Promise<StoredState | null>} */
  async load() {
    const transaction = this.#database.transaction(STORES, "readonly");
    const [kept, position, messages] = await Promise.all([
      answered(transaction.objectStore("identities").get(this.#slot)),
      answered(transaction.objectStore("positions").get(this.#slot)),
      answered(transaction.objectStore("messages").getAll(messagesOf(this.#slot))),
    ]);
    if (kept === undefined) return null;
    return {
      identity: kept.identity,
      position: position === undefined ? null : position.position,
      messages: messages.map((/** @type {{ message: KeptMessage }} */ { message }) => message),
    };
  }

  /** @returns {Promise<Failure[]>} */
  async loadFailures() {
    const store = this.#database.transaction("failures", "readonly").objectStore("failures");
    const kept = await answered(store.getAll(IDBKeyRange.bound([this.#key, ""], [this.#key, []]))); // an array is above every text
    return kept.map(({ failure }) => failure).sort((a, b) => a.failedAtMs - b.failedAtMs);
  }

  /** @param {Changes} changes */
  async save({ identity, position, put, removed, failures, dismissed }) {
    // Numbers must survive a crash of the machine, since frames wait for them; a position need not.
    const durability = identity === null ? "relaxed" : "strict";
    const transaction = this.#database.transaction(STORES, "readwrite", { durability });
    const slot = this.#slot;
    if (identity !== null) transaction.objectStore("identities").put({ slot, identity, owner: this.#owner, savedAtMs: Date.now() });
    if (position !== null) transaction.objectStore("positions").put({ slot, position });
    const messages = transaction.objectStore("messages");
    for (const ticket of removed) messages.delete([slot, ticket]);
    for (const message of put) messages.put({ slot, ticket: message.ticket, message });
    const kept = transaction.objectStore("failures");
    for (const failure of failures) kept.put({ key: this.#key, id: failure.id, failure });
    for (const id of dismissed) kept.delete([this.#key, id]);
    transaction.commit?.();
    await completed(transaction);
  }

  async clear() {
    const transaction = this.#database.transaction(STORES, "readwrite");
    deleteSlot(transaction, this.#slot);
    await completed(transaction);
  }

  async release() {
    ownedHere.delete(this.#slot);
    this.#unlock();
    this.#database.close();
  }

  async retake() {
    const database = await opened(); // first: while it does not answer, another page can have the slot
    const lock = await lockOf(this.#slot, 0);
    if (lock === null) {
      database.close();
      return false;
    }
    this.#unlock = lock;
    this.#database = database;
    let isOurs = false;
    try {
      this.#isOwned();
      const kept = await answered(this.#database.transaction("identities", "readonly").objectStore("identities").get(this.#slot));
      isOurs = kept !== undefined && kept.owner === this.#owner;
    } finally {
      if (!isOurs) await this.release(); // for the next lease, which sends what is left in it
    }
    return isOurs;
  }
}

/** @returns {Promise<IDBDatabase>} */
function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, VERSION);
    request.onupgradeneeded = () => {
      for (const [name, keyPath] of Object.entries(KEYS)) {
        if (!request.result.objectStoreNames.contains(name)) request.result.createObjectStore(name, { keyPath });
      }
    };
    let isBlocked = false;
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close();
      if (isBlocked) request.result.close(); // nobody waits for it any more
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
    request.onblocked = () => {
      isBlocked = true;
      reject(new Error("another tab keeps an older version of the database open; close it"));
    };
  });
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function answered(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {IDBTransaction} transaction
 * @returns {Promise<void>}
 */
function completed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the browser has given up storing"));
  });
}

/**
 * Take the lock of a slot. Returns a function that releases it, or null if another page has it.
 *
 * @param {string} slot
 * @param {number} waitMs
 * @returns {Promise<(() => void) | null>}
 */
function lockOf(slot, waitMs) {
  const how = waitMs > 0 ? { signal: AbortSignal.timeout(waitMs) } : { ifAvailable: true };
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(`${DATABASE}:${slot}`, how, (lock) => {
        if (lock === null) return resolve(null);
        return new Promise((/** @type {(value: void) => void} */ release) => resolve(() => release()));
      })
      .catch((error) => (how.signal?.aborted ? resolve(null) : reject(error)));
  });
}

/**
 * The slots of a key: first those with messages and no owner, then the others.
 *
 * @param {IDBDatabase} database
 * @param {string} key
 */
async function slotsByNeed(database, key) {
  const slots = Array.from({ length: SLOTS_MAX }, (_, n) => `${key}#${n}`);
  const messages = database.transaction("messages", "readonly").objectStore("messages");
  const counts = await Promise.all(slots.map((slot) => answered(messages.count(messagesOf(slot)))));
  return [...slots.filter((_, n) => counts[n] > 0), ...slots.filter((_, n) => counts[n] === 0)];
}

/** @param {IDBDatabase} database */
async function deleteUnused(database) {
  const { held = [] } = await navigator.locks.query();
  const owned = new Set(held.map(({ name }) => name));
  const transaction = database.transaction(STORES, "readwrite");
  const kept = await answered(transaction.objectStore("identities").getAll());
  for (const { slot, savedAtMs } of kept) {
    if (Date.now() - savedAtMs > UNUSED_MS_MAX && !owned.has(`${DATABASE}:${slot}`)) deleteSlot(transaction, slot);
  }
  const failures = transaction.objectStore("failures");
  for (const { key, id, failure } of await answered(failures.getAll())) {
    if (Date.now() - failure.failedAtMs > UNUSED_MS_MAX) failures.delete([key, id]);
  }
  await completed(transaction);
}

/**
 * @param {IDBTransaction} transaction
 * @param {string} slot
 */
function deleteSlot(transaction, slot) {
  transaction.objectStore("identities").delete(slot);
  transaction.objectStore("positions").delete(slot);
  transaction.objectStore("messages").delete(messagesOf(slot));
}

/** @param {string} slot */
function messagesOf(slot) {
  return IDBKeyRange.bound([slot, 0], [slot, Infinity]);
}

/** @param {string} key */
function ownSlot(key) {
  try {
    return sessionStorage.getItem(`${DATABASE}:${key}`);
  } catch {
    return null; // storage that a policy forbids
  }
}

/**
 * @param {string} key
 * @param {string} slot
 */
function rememberSlot(key, slot) {
  try {
    sessionStorage.setItem(`${DATABASE}:${key}`, slot);
  } catch {
    // Then a reload takes whichever slot is free.
  }
}

/** 128 random bits. */
export function randomText() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
