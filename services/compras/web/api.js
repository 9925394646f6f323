// The front door: asking it, and listening to it. A front door that is away is waited for.

import { t } from "./texts.js";

const OPERATOR = "zoco.operador";
const AGAIN_MS = 1000;
const ASK_MS = 8000;
const FIRST_MS = 500;
const LONGEST_MS = 5000;
// Whoever stands before the front door says so: no more than a lost answer, as what was asked may have been done.
const NO_ANSWER = [408, 502, 504];

// An answer that is an error, in the API's own words (RFC 9457).
export class Problem extends Error {
  constructor(status, detail, afterSeconds = 0) {
    super(detail);
    this.status = status;
    // Of an address that asks more than its share nothing is heard any sooner.
    this.restMs = status === 429 ? Math.max(AGAIN_MS, 1000 * afterSeconds) : 0;
  }
}

// Whether the same may be accepted yet, or was: no answer, more than this address's share, or not now.
export const notYet = (error) => !(error instanceof Problem) || error.status === 429 || error.status === 503;

// Whether this browser has the operator's session, for all that is known: the session is a cookie, and no script sees it.
export const operator = {
  get here() {
    return localStorage.getItem(OPERATOR) !== null;
  },
  // By a code in the body, or by the key in a header. Throws as `ask`.
  async enter(shown) {
    await ask("/operador/sesion", { method: "POST", ...shown });
    localStorage.setItem(OPERATOR, "");
  },
  async leave() {
    await ask("/operador/sesion", { method: "DELETE" });
    localStorage.removeItem(OPERATOR);
  },
  // Forgets a session that has ended. Whether it did.
  async over() {
    try {
      await ask("/operador");
    } catch (error) {
      if (notYet(error)) return false;
      localStorage.removeItem(OPERATOR);
      return true;
    }
    return false;
  },
};

// The parsed body. Throws Problem, or TypeError when there is no answer at all.
export async function ask(path, { method = "GET", body, headers = {} } = {}) {
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal: AbortSignal.timeout(ASK_MS) });
  } catch (error) {
    throw new TypeError(String(error));
  }
  if (NO_ANSWER.includes(answer.status)) throw new TypeError(answer.statusText);
  const told = await answer.json().catch(() => {
    throw new TypeError("half an answer");
  });
  if (!answer.ok) throw new Problem(answer.status, told.detail ?? answer.statusText, Number(answer.headers.get("Retry-After")) || 0);
  return Object.assign(told, { [NEXT]: /<([^>]+)>; rel="next"/.exec(answer.headers.get("Link") ?? "")?.[1] });
}

// Asked with one key until there is an answer: it counts once, however often it is sent. `meanwhile(error)` hears why
// there is none yet. Throws Problem when the answer is that it will never do.
export async function insist(path, { key, headers = {}, meanwhile, ...options }) {
  for (let pause = FIRST_MS; ; pause = Math.min(2 * pause, LONGEST_MS)) {
    try {
      return await ask(path, { method: "POST", ...options, headers: { ...headers, "Idempotency-Key": key } });
    } catch (error) {
      if (!notYet(error)) throw error;
      meanwhile(error);
      await new Promise((again) => setTimeout(again, Math.max(pause, error.restMs ?? 0)));
    }
  }
}

// crypto.randomUUID exists on https and localhost only.
export const newKey = () => crypto.randomUUID?.() ?? fallbackKey();
const fallbackKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const NEXT = Symbol("next page");

// Every page of a list, up to so many; null when there are more.
export async function whole(path, pages) {
  const all = [];
  for (let next = path; next; pages -= 1) {
    if (pages === 0) return null;
    const page = await ask(next);
    all.push(...page);
    next = page[NEXT];
  }
  return all;
}

// Why a request did not do what it should, in the reader's words.
export function why(error) {
  if (!(error instanceof Problem)) return t("sinRespuesta");
  return t({ 401: "dijo401", 403: "dijo403", 429: "dijo503", 503: "dijo503" }[error.status] ?? "dijo", { detalle: error.message });
}

// Events, for ever: `on.event(kind, data, record)`, `on.state("live" | "away")`, and `on.start(record)` when what came
// before that record of the journal is unknown.
export function listen(on) {
  let last = null;
  const open = () => {
    const source = new EventSource(last === null ? "/eventos" : `/eventos?desde=${last}`);
    const seen = (kind) => (event) => {
      last = event.lastEventId;
      on.event(kind, JSON.parse(event.data), Number(last));
    };
    source.onopen = () => on.state("live");
    source.addEventListener("inicio", (event) => {
      last = event.lastEventId;
      on.start(Number(last));
    });
    source.addEventListener("compra", seen("compra"));
    source.addEventListener("alta", seen("alta"));
    source.onerror = () => {
      on.state("away");
      if (source.readyState !== EventSource.CLOSED) return;
      // It was answered with an error: a browser gives up then, and we do not.
      source.close();
      setTimeout(open, AGAIN_MS);
    };
  };
  open();
}
