// The control room: who runs, what waits, how fast it goes, and the buttons that knock them down.

import { ask, operator, why } from "./api.js";
import { $, make, off, once, show, write } from "./dom.js";
import * as purchases from "./purchases.js";
import { buyerName, meet, tokenName } from "./shop.js";
import { number, t, time } from "./texts.js";

const EVERY_MS = 1000;
const SECONDS = 60;
const RECORDS = 6;
const RATE_SECONDS = 5;
const BROKER = "rabbitmq";
const POSTGRES = "postgres"; // in a shop whose books are in one
const NAMES = ["compras", "tokens", "usuarios", "transacciones", BROKER];
const WIDTH = 104;
const HEIGHT = 30;
const SAID_MS = 10_000;

const depths = Object.fromEntries(NAMES.map((name) => [name, []]));
const records = new Map();
const counts = { asked: [], ended: [] };
const rows = new Map();
const after = []; // who is told of each new state
let state = null;
let heardOf = false; // whether there was any state yet
let booked = false;
let management = null; // RabbitMQ's own page, as last told
let says = "";
let commands = null; // what a person would type instead of each button, as last told
let fallen = null; // what was knocked down last, until it is back: { name, seen down }

export const onState = (hear) => after.push(hear);

export function start() {
  NAMES.forEach(add);
  draw();
  const round = async () => {
    await look();
    setTimeout(round, document.hidden ? 3 * EVERY_MS : EVERY_MS);
  };
  return round();
}

const add = (name) => $("#services").append(rows.set(name, row(name)).get(name));
const isService = (name) => name !== BROKER && name !== POSTGRES;

async function look() {
  try {
    state = await ask("/estado");
    commands = state.tumbar;
    heardOf = true;
    if (state.base && !rows.has(POSTGRES)) add(POSTGRES);
    for (const name of NAMES) {
      const queue = depths[name];
      queue.push(state.colas?.[name]?.messages ?? queue.at(-1) ?? 0);
      if (queue.length > SECONDS) queue.shift();
    }
    if (!booked) await readBook();
  } catch {
    state = null;
  }
  for (const hear of after) hear(state);
  draw();
}

// The last records, once; from then on they come as events.
async function readBook() {
  const from = Math.max(0, (state.servicios.transacciones.records ?? 0) - RECORDS);
  const list = await ask(`/transacciones?desde=${from}&limite=1000`).catch(() => null);
  booked = list !== null;
  for (const record of list ?? []) records.set(record.id, record);
}

export function heard(life) {
  const now = Date.now();
  if (life.estado === "solicitada") counts.asked.push(now);
  if (life.estado === "registrada" || life.estado === "rechazada") counts.ended.push(now);
  if (life.estado === "registrada") {
    records.set(life.transaccionId, { id: life.transaccionId, usuarioId: life.usuarioId, tokenId: life.tokenId, fecha: life.fecha });
    for (const id of records.keys()) {
      if (records.size <= RECORDS) break;
      records.delete(Math.min(id, ...records.keys()));
    }
  }
  draw();
}

function perSecond(times) {
  const since = Date.now() - RATE_SECONDS * 1000;
  while (times.length && times[0] < since) times.shift();
  return times.length / RATE_SECONDS;
}

function row(name) {
  const svg = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img"><path class="area"/><path class="line"/></svg>`;
  const chart = make("div", { className: "chart", innerHTML: !isService(name) ? "" : `${svg}<span></span>` });
  const button = make("button", { type: "button", onclick: () => knock(name) });
  return make("li", { className: "service", data: { name } },
    make("div", {}, make("strong", {}, make("span", { className: "dot" }), make("span", { className: "name", textContent: name })), make("small")),
    chart, button, make("code", { hidden: true }));
}

async function knock(name) {
  if (!operator.here) {
    $("#operator").click();
    return;
  }
  try {
    const told = await ask(`/operador/derribos/${name}`, { method: "POST" });
    says = t("tumbado", { nombre: name, quien: told.quien });
    fallen = { name, down: false };
    // The others of its kind go on: it never is down.
    if (state?.procesos?.[name]) setTimeout(quiet, SAID_MS);
  } catch (error) {
    says = unanswered(name, error);
  }
  write($("#heard"), says);
  draw();
}

function unanswered(name, error) {
  if (error instanceof TypeError && name === "compras") {
    // The front door that knocks itself down has no time to say so.
    fallen = { name, down: false };
    return t("tumbado", { nombre: name, quien: `pid ${state?.servicios.compras.pid ?? "?"}` });
  }
  setTimeout(quiet, SAID_MS);
  if (error instanceof TypeError) return t("tumbadoQuiza", { nombre: name });
  return error.status === 503 ? t("yaCaido", { nombre: name, detalle: error.message }) : t("noTumbado", { detalle: why(error) });
}

const draw = once(() => {
  const asked = perSecond(counts.asked);
  purchases.crowded(asked);
  write($("#rates"), t("ritmo", { a: number(asked), b: number(perSecond(counts.ended)), c: state ? number(state.sinTerminar) : "–" }));
  for (const [name, element] of rows) fill(element, name);
  drawNote();
  drawRecords();
});

function drawNote() {
  const kind = state && !state.tumbar ? "tumbarApagado" : operator.here ? "tumbarOrden" : "tumbarOperador";
  write($("#knock-note"), says || t(kind));
}

export function quiet() {
  [says, fallen] = ["", null];
  draw();
}

function fill(element, name) {
  const service = isService(name) ? state?.servicios[name] : null;
  const up = name === BROKER ? state?.broker.conectado : name === POSTGRES ? state?.base?.conectada : name === "compras" ? Boolean(state) : service?.role != null;
  // The front door tells how the others are: without it nobody knows.
  const standing = !heardOf ? "start" : !state && name !== "compras" ? "unknown" : !up ? "down" : service && (!service.ready || service.doubt) ? "start" : "up";
  if (element.dataset.state !== standing) element.dataset.state = standing;
  if (fallen?.name === name && standing !== "up") fallen.down = true;
  if (fallen?.name === name && standing === "up" && fallen.down) quiet();
  write($("small", element), describe(name, service, standing));
  $("small", element).title = (name === BROKER ? state?.broker.problema : name === POSTGRES ? state?.base?.problema : service?.doubt) || workers(name).join("\n");
  if (isService(name)) chart(element, name);
  const button = $("button", element);
  write(button, t("tumbar"));
  button.ariaLabel = t("tumbarEtiqueta", { nombre: name });
  show($("code", element), Boolean(commands?.[name]));
  write($("code", element), commands?.[name] ?? "");
  off(button, !state?.tumbar?.[name] || !up);
}

function describe(name, service, standing) {
  if (!heardOf) return t("conectando");
  if (standing === "down") return t("abajo");
  if (standing === "unknown") return t("noSeSabe");
  if (name === BROKER) {
    const dead = Object.entries(state.colas ?? {}).filter(([queue]) => queue.endsWith(".muertos")).reduce((sum, [, depth]) => sum + depth.messages, 0);
    return `${t("arriba")} · ${dead ? t("muertas", { n: number(dead) }) : t("sinCartas")}`;
  }
  if (name === POSTGRES) return t("arriba");
  if (service.doubt) return t("duda", { nombre: service.doubtOf });
  const several = state.procesos[name];
  if (several) return `${standing === "start" ? t("arrancando") : t("arriba")} · ${t("procesos", { n: number(several.filter((one) => one.ready).length), m: number(several.length) })}`;
  const who = service.host ? `${service.host} · pid ${service.pid}` : "";
  return [standing === "start" ? t("arrancando") : t("arriba"), t(service.role), who].filter(Boolean).join(" · ");
}

// Of a service with several processes, a line for each.
const workers = (name) => (state?.procesos?.[name] ?? []).map((one) => (one.role ? [one.host, `pid ${one.pid}`, t(one.role)] : [one.url, t("abajo")]).join(" · "));

function chart(element, name) {
  const queue = depths[name];
  const most = Math.max(10, ...queue);
  const step = WIDTH / (SECONDS - 1);
  const from = WIDTH - (queue.length - 1) * step;
  const points = queue.map((n, place) => `${(from + place * step).toFixed(1)} ${(HEIGHT - (n / most) * (HEIGHT - 2)).toFixed(1)}`);
  const line = points.length ? `M${points.join("L")}` : "";
  $(".line", element).setAttribute("d", line);
  $(".area", element).setAttribute("d", line && `${line}L${WIDTH} ${HEIGHT}L${from.toFixed(1)} ${HEIGHT}Z`);
  const now = state?.colas ? queue.at(-1) ?? 0 : null;
  const n = now === null ? "–" : number(now);
  $("svg", element).setAttribute("aria-label", t("colaDe", { nombre: name, n, m: number(Math.max(0, ...queue)) }));
  write($(".chart span", element), t("esperan", { n }));
  $(".chart", element).toggleAttribute("data-busy", now > 0);
}

function drawRecords() {
  const shown = [...records.values()].sort((a, b) => b.id - a.id).slice(0, RECORDS);
  // In a crowd the names would be gone before they are read.
  if (perSecond(counts.asked) <= RATE_SECONDS) for (const one of shown) meet(one.usuarioId, one.tokenId).then((met) => met && draw());
  const body = $("#records");
  while (body.rows.length < shown.length) body.append(make("tr", {}, make("td"), make("td"), make("td"), make("td")));
  while (body.rows.length > shown.length) body.deleteRow(-1);
  shown.forEach((record, place) => {
    const cells = body.rows[place].cells;
    [number(record.id), buyerName(record.usuarioId), tokenName(record.tokenId), time(record.fecha)].forEach((text, cell) => write(cells[cell], text));
  });
  show($("#book"), shown.length > 0);
}

export function links() {
  // It is needed most while nobody is there to name it.
  management = state?.gestion ?? management;
  const all = [["/docs", "/docs"], ["/metrics", "/metrics"], ["/estado", "/estado"]];
  if (management) all.push([t("gestion"), management]);
  const box = $("#links");
  if (box.childElementCount === all.length && box.lastChild.getAttribute("href") === all.at(-1)[1]) return;
  box.replaceChildren(...all.map(([name, href]) => make("a", { href, textContent: name, rel: "noreferrer" })));
}
