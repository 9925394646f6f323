// The verdict: what the public reads can show of promises 1 to 5, looked at whenever all is quiet.
//
// It knows from some moment on. A small shop's books are read from their beginning; of a large one only what happens
// while the page is open is known: from its events, which the page hears anyway, and from the records behind those
// that were there. So a check costs what is new, and says since when it knows.

import { ask, whole } from "./api.js";
import { $, make, write } from "./dom.js";
import { answers } from "./purchases.js";
import { number, t, time } from "./texts.js";

const EVERY_MS = 5000;
const QUIET_MS = 1000;
const LATE_MS = 4000;
// A shop whose front door has written no more than this is read from its beginning: 300 to 400 purchases.
const SMALL = 2000;
const PAGE = 1000;
// More than this between two checks, or in all, and it knows from now on.
const PAGES = 20;
const KEPT = PAGE * PAGES;
const USERS = 10_000;
const PROMISES = [1, 2, 3, 4, 5];

let quietSince = 0;
let lastRecords = -1;
let lastAt = 0;
let running = false;
let heardUpTo = -1; // the journal's record that the events have come to, and when they did
let heardAt = 0;
let since = null; // { hora, entire, place, number }: from when all is known, the journal's record and the last sale then
let bought = new Map(); // id -> the purchase, of all since then
let written = []; // the records since then
let found = new Set(); // older purchases of this browser that the shop knows
let money = null; // what there was in all, since the last entry of an operator
let result = null; // { hora, count, broken: {promise: n}, lost, doubled }
let status = "";
let state = null;

export function start() {
  for (const promise of PROMISES) $("#promises").append(make("li", {}, make("span"), make("b")));
  $("#check").onclick = () => check(true);
  draw();
}

// What came before this record of the journal is unknown: nothing was heard yet, or something was missed.
export function begin(record) {
  [heardUpTo, heardAt] = [record, Date.now()];
  forget();
}

function forget() {
  [since, bought, written, found, money, lastRecords] = [null, new Map(), [], new Set(), null, -1];
}

export function heard(kind, data, record) {
  [heardUpTo, heardAt] = [record, Date.now()];
  // Somebody entered something: the money may have grown, and is counted anew.
  if (kind === "alta" && data.tipo !== "token.publicado") money = null;
  if (kind === "compra" && since && record > since.place) keep(data);
}

function keep({ id, estado, usuarioId, tokenId, precio, transaccionId }) {
  bought.set(id, { id, estado, usuarioId, tokenId, precio, transaccionId });
}

export function look(now) {
  state = now;
  const records = now?.servicios.compras.records;
  const quiet = now && now.sinTerminar === 0;
  if (!quiet) quietSince = 0;
  else quietSince ||= Date.now();
  const fresh = records !== lastRecords && Date.now() - lastAt > EVERY_MS;
  if (quiet && fresh && Date.now() - quietSince > QUIET_MS) check(false);
  draw();
}

async function check(byHand) {
  if (running) return;
  running = true;
  lastAt = Date.now();
  try {
    status = await read();
  } catch {
    status = byHand ? "noComprobado" : status;
  }
  running = false;
  draw();
}

// What is public, as of one quiet moment.
async function read() {
  const before = await ask("/estado");
  if (before.sinTerminar > 0) return "enCamino";
  const place = before.servicios.compras.records;
  if (heardUpTo < place) {
    // The events are still on their way here. A record that is none would be waited for in vain.
    if (Date.now() - heardAt < LATE_MS) return "enCamino";
    begin(place);
  }
  if (bought.size > KEPT || before.servicios.transacciones.records < (since?.number ?? 0)) forget();
  const first = since ?? { hora: new Date(), entire: place <= SMALL, place, number: 0 };
  if (!since && !first.entire) first.number = before.servicios.transacciones.records;
  const [usuarios, tokens, records, compras] = await Promise.all([
    ask(`/usuarios?limite=${USERS}`),
    place <= SMALL ? ask(`/tokens?limite=${PAGE}`) : [],
    whole(`/transacciones?desde=${written.at(-1)?.id ?? first.number}&limite=${PAGE}`, PAGES),
    !since && first.entire ? whole(`/compras?limite=${PAGE}`, PAGES) : [],
  ]);
  const after = await ask("/estado");
  if (after.servicios.compras.records !== place || heardUpTo > place) return "enCamino";
  if (!records || !compras) {
    forget();
    return "enCamino";
  }
  since = first;
  compras.forEach(keep);
  written.push(...records);
  lastRecords = place;
  result = { hora: new Date(), count: bought.size, ...await judge(usuarios, tokens) };
  return "comprobado";
}

async function judge(usuarios, tokens) {
  const sold = [...bought.values()].filter((compra) => compra.estado === "registrada");
  // Who there is no room for in one answer is not counted, and so is nobody's money.
  const counted = usuarios.length < USERS;
  const saldo = usuarios.reduce((sum, usuario) => sum + usuario.saldo, 0) + sold.reduce((sum, compra) => sum + compra.precio, 0);
  money ??= saldo;
  const byNumber = new Map(written.map((record) => [record.id, record]));
  const missing = await unknown();
  const unfinished = [...bought.values()].filter((compra) => compra.estado !== "registrada" && compra.estado !== "rechazada").length;
  const unwritten = sold.filter((compra) => {
    const record = byNumber.get(compra.transaccionId);
    return !record || record.tokenId !== compra.tokenId || record.usuarioId !== compra.usuarioId;
  }).length;
  const twice = written.length - new Set(written.map((record) => record.tokenId)).size;
  const vendidos = since.entire && tokens.length && tokens.length < PAGE ? tokens.filter((token) => token.vendido).length : sold.length;
  const gaps = written.filter((record, place) => record.id !== since.number + place + 1).length;
  const more = Math.max(0, written.length - sold.length);
  const doubled = [...answers.told.values()].filter((ids) => ids.size > 1).length + twice + more;
  return {
    broken: {
      1: counted ? Math.abs(saldo - money) : undefined,
      2: usuarios.filter((usuario) => usuario.saldo < 0).length,
      3: twice + Math.abs(vendidos - sold.length),
      4: missing + unfinished,
      5: unwritten + gaps + more,
    },
    lost: missing + unfinished + unwritten,
    doubled,
  };
}

// How many purchases that this browser was answered the shop does not know.
async function unknown() {
  const ids = [...answers.told.values()].flatMap((told) => [...told]).filter((id) => !bought.has(id) && !found.has(id));
  let missing = 0;
  for (const id of ids) {
    try {
      await ask(`/compras/${id}`);
      found.add(id);
    } catch (error) {
      if (error.status !== 404) throw error;
      missing += 1;
    }
  }
  return missing;
}

export function draw() {
  const lost = result?.lost || answers.lost;
  const doubled = result?.doubled ?? 0;
  const broken = lost > 0 || doubled > 0 || Object.values(result?.broken ?? {}).some((count) => count > 0);
  const waiting = state?.sinTerminar ?? 0;
  // Before the first look nothing is known, and nothing is claimed; nor of now, while nobody tells how things stand.
  const current = result !== null && state !== null && waiting === 0;
  const [a, b] = result !== null || broken ? [number(lost), number(doubled)] : ["–", "–"];
  write($('[data-n="lost"]'), a);
  write($('[data-n="doubled"]'), b);
  write($("#short"), t("corto", { a, b }));
  for (const sum of [$("#short"), $("#sum")]) {
    sum.toggleAttribute("data-broken", broken);
    sum.toggleAttribute("data-unknown", !broken && !current);
  }
  [...$("#promises").children].forEach((line, place) => {
    const count = result?.broken[place + 1];
    const holds = count ? "no" : count === 0 && current ? "yes" : "unknown";
    if (line.dataset.holds !== holds) line.dataset.holds = holds;
    write(line.firstChild, t(`p${place + 1}`));
    write(line.lastChild, holds === "yes" ? t("bien") : holds === "no" ? t("mal", { n: number(count) }) : t("pendiente"));
  });
  write($("#checked"), says(waiting));
}

// What is known, and since when; or why it is not.
function says(waiting) {
  const last = result && t("ultimo", { hora: time(result.hora) });
  if (!state) return [t("noSeSabeAhora"), last].filter(Boolean).join(" ");
  if (waiting > 0) return [t("enCamino", { n: number(waiting) }), last].filter(Boolean).join(" ");
  if (status === "noComprobado") return [t(status), last].filter(Boolean).join(" ");
  if (!result) return t("pendiente");
  const kind = since?.entire ? "comprobado" : "comprobadoDesde";
  return t(kind, { hora: time(result.hora), n: number(result.count), desde: time((since ?? result).hora) });
}
