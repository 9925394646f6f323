// The verdict: what the public reads can show of promises 1 to 5, looked at whenever all is quiet.

import { ask, whole } from "./api.js";
import { $, make, write } from "./dom.js";
import { answers } from "./purchases.js";
import { number, t, time } from "./texts.js";

const EVERY_MS = 5000;
// At most so many pages of 1,000 purchases, and of 10,000 records.
const PAGES = 20;
const PURCHASES = 1000 * PAGES;
const PROMISES = [1, 2, 3, 4, 5];

let quietSince = 0;
let lastRecords = -1;
let lastAt = 0;
let running = false;
let money = null; // what there was in all, since the last entry of an operator
let result = null; // { hora, count, broken: {promise: n}, lost, doubled }
let status = "";
let state = null;

export function start() {
  for (const promise of PROMISES) $("#promises").append(make("li", {}, make("span"), make("b")));
  $("#check").onclick = () => check(true);
  draw();
}

// Somebody entered something: the money may have grown, and is counted anew.
export function entered() {
  money = null;
}

export function look(now) {
  state = now;
  const records = now?.servicios.compras.records;
  const quiet = now && now.sinTerminar === 0;
  if (!quiet) quietSince = 0;
  else quietSince ||= Date.now();
  const fresh = records !== lastRecords && Date.now() - lastAt > EVERY_MS;
  if (quiet && fresh && Date.now() - quietSince > 1000) check(false);
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

// Everything that is public, as of one quiet moment.
async function read() {
  const before = await ask("/estado");
  if (before.sinTerminar > 0) return "enCamino";
  const { records } = before.servicios.compras;
  if (before.servicios.transacciones.records > PURCHASES) return tooMany(records);
  const [usuarios, tokens, transacciones, compras] = await Promise.all([
    ask("/usuarios"), ask("/tokens"), whole("/transacciones?limite=10000", PAGES), whole("/compras?limite=1000", PAGES),
  ]);
  if (!transacciones || !compras) return tooMany(records);
  const after = await ask("/estado");
  if (after.servicios.compras.records !== records) return "enCamino";
  lastRecords = records;
  result = { hora: new Date(), count: compras.length, ...judge(usuarios, tokens, transacciones, compras) };
  return "comprobado";
}

// There is no use in reading it all again before there is something new.
function tooMany(records) {
  lastRecords = records;
  return "demasiadas";
}

function judge(usuarios, tokens, transacciones, compras) {
  const sold = compras.filter((compra) => compra.estado === "registrada");
  const saldo = usuarios.reduce((sum, usuario) => sum + usuario.saldo, 0) + sold.reduce((sum, compra) => sum + compra.precio, 0);
  money ??= saldo;
  const byNumber = new Map(transacciones.map((record) => [record.id, record]));
  const known = new Set(compras.map((compra) => compra.id));
  const missing = [...answers.told.values()].flatMap((ids) => [...ids]).filter((id) => !known.has(id)).length;
  const unfinished = compras.filter((compra) => compra.estado !== "registrada" && compra.estado !== "rechazada").length;
  const unwritten = sold.filter((compra) => {
    const record = byNumber.get(compra.transaccionId);
    return !record || record.tokenId !== compra.tokenId || record.usuarioId !== compra.usuarioId;
  }).length;
  const twice = transacciones.length - new Set(transacciones.map((record) => record.tokenId)).size;
  const vendidos = tokens.filter((token) => token.vendido).length;
  const gaps = transacciones.filter((record, place) => record.id !== place + 1).length;
  const doubled = [...answers.told.values()].filter((ids) => ids.size > 1).length + twice + Math.max(0, transacciones.length - sold.length);
  return {
    broken: {
      1: Math.abs(saldo - money),
      2: usuarios.filter((usuario) => usuario.saldo < 0).length,
      3: twice + Math.abs(vendidos - sold.length),
      4: missing + unfinished,
      5: unwritten + gaps + Math.max(0, transacciones.length - sold.length),
    },
    lost: missing + unfinished + unwritten,
    doubled,
  };
}

export function draw() {
  const lost = result?.lost || answers.lost;
  const doubled = result?.doubled ?? 0;
  // Before the first look nothing is known, and nothing is claimed.
  const known = result !== null || lost > 0;
  const [a, b] = known ? [number(lost), number(doubled)] : ["–", "–"];
  write($('[data-n="lost"]'), a);
  write($('[data-n="doubled"]'), b);
  write($("#short"), t("corto", { a, b }));
  for (const sum of [$("#short"), $("#sum")]) {
    sum.toggleAttribute("data-broken", lost > 0 || doubled > 0);
    sum.toggleAttribute("data-unknown", !known);
  }
  [...$("#promises").children].forEach((line, place) => {
    const broken = result?.broken[place + 1];
    const holds = broken === undefined ? "unknown" : broken === 0 ? "yes" : "no";
    if (line.dataset.holds !== holds) line.dataset.holds = holds;
    write(line.firstChild, t(`p${place + 1}`));
    write(line.lastChild, holds === "yes" ? t("bien") : holds === "no" ? t("mal", { n: number(broken) }) : t("pendiente"));
  });
  const waiting = state?.sinTerminar ?? 0;
  const says = waiting > 0 ? t("enCamino", { n: number(waiting) })
    : status === "comprobado" || (result && status === "enCamino") ? t("comprobado", { hora: time(result.hora), n: number(result.count) })
    : status && status !== "enCamino" ? t(status) : t("pendiente");
  write($("#checked"), says);
}
