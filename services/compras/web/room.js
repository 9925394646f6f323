// The control room: who runs, what waits, how fast it goes, and the buttons that knock them down.

import { ask, operator, why } from "./api.js";
import { $, make, once, show, write } from "./dom.js";
import * as purchases from "./purchases.js";
import { buyerName, tokenName } from "./shop.js";
import { number, t, time } from "./texts.js";

const EVERY_MS = 1000;
const SECONDS = 60;
const RECORDS = 6;
const RATE_SECONDS = 5;
const BROKER = "rabbitmq";
const NAMES = ["compras", "tokens", "usuarios", "transacciones", BROKER];
const WIDTH = 104;
const HEIGHT = 30;

const depths = Object.fromEntries(NAMES.map((name) => [name, []]));
const records = new Map();
const counts = { asked: [], ended: [] };
const rows = new Map();
const after = []; // who is told of each new state
let state = null;
let heardOf = false; // whether there was any state yet
let booked = false;
let says = "";
let fallen = null; // what was knocked down last, until it is back: { name, seen down }

export const onState = (hear) => after.push(hear);

export function start() {
  for (const name of NAMES) $("#services").append(rows.set(name, row(name)).get(name));
  draw();
  const round = async () => {
    await look();
    setTimeout(round, document.hidden ? 3 * EVERY_MS : EVERY_MS);
  };
  return round();
}

async function look() {
  try {
    state = await ask("/estado");
    heardOf = true;
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
  const chart = make("div", { className: "chart", innerHTML: name === BROKER ? "" : `${svg}<span></span>` });
  const button = make("button", { type: "button", onclick: () => knock(name) });
  return make("li", { className: "service", data: { name } },
    make("div", {}, make("strong", {}, make("span", { className: "dot" }), make("span", { className: "name", textContent: name })), make("small")),
    chart, button);
}

async function knock(name) {
  if (!operator.token) {
    $("#key").showModal();
    return;
  }
  try {
    const told = await ask(`/operador/derribos/${name}`, { method: "POST", asOperator: true });
    says = t("tumbado", { nombre: name, quien: told.quien });
    fallen = { name, down: false };
  } catch (error) {
    // The front door that knocks itself down has no time to say so.
    says = name === "compras" && error instanceof TypeError ? t("tumbado", { nombre: name, quien: "SIGKILL" }) : t("noTumbado", { detalle: why(error) });
  }
  write($("#heard"), says);
  draw();
}

const draw = once(() => {
  const asked = perSecond(counts.asked);
  purchases.crowded(asked);
  write($("#rates"), t("ritmo", { a: number(asked), b: number(perSecond(counts.ended)), c: state ? number(state.sinTerminar) : "–" }));
  for (const name of NAMES) fill(rows.get(name), name);
  drawNote();
  drawRecords();
});

function drawNote() {
  const knocks = state?.tumbar;
  const command = knocks?.transacciones ?? "zoco kill transacciones";
  const kind = !knocks ? "tumbarApagado" : operator.token ? "tumbarOrden" : "tumbarOperador";
  const note = $("#knock-note");
  const text = says || t(kind, { orden: "\u0000" });
  if (note.dataset.said === text + command) return;
  note.dataset.said = text + command;
  const [before, behind] = text.split("\u0000");
  note.replaceChildren(before, ...(behind === undefined ? [] : [make("code", { textContent: command }), behind]));
}

export function quiet() {
  [says, fallen] = ["", null];
  draw();
}

function fill(element, name) {
  const service = name === BROKER ? null : state?.servicios[name];
  const up = name === BROKER ? state?.broker.conectado : name === "compras" ? Boolean(state) : service?.role != null;
  const standing = !heardOf ? "start" : !up ? "down" : service && !service.ready ? "start" : "up";
  if (element.dataset.state !== standing) element.dataset.state = standing;
  if (fallen?.name === name && standing !== "up") fallen.down = true;
  if (fallen?.name === name && standing === "up" && fallen.down) quiet();
  write($("small", element), describe(name, service, standing));
  if (name !== BROKER) chart(element, name);
  const button = $("button", element);
  write(button, t("tumbar"));
  button.ariaLabel = t("tumbarEtiqueta", { nombre: name });
  button.title = state?.tumbar?.[name] ?? "";
  const off = !state?.tumbar?.[name] || !up;
  if (button.disabled !== off) button.disabled = off;
}

function describe(name, service, standing) {
  if (!heardOf) return t("conectando");
  if (standing === "down") return name === BROKER && state?.broker.problema ? `${t("abajo")}: ${state.broker.problema}` : t("abajo");
  if (name === BROKER) {
    const dead = Object.entries(state.colas ?? {}).filter(([queue]) => queue.endsWith(".muertos")).reduce((sum, [, depth]) => sum + depth.messages, 0);
    return `${t("arriba")} · ${dead ? t("muertas", { n: number(dead) }) : t("sinCartas")}`;
  }
  const who = service.host ? `${service.host} · pid ${service.pid}` : "";
  return [standing === "start" ? t("arrancando") : t("arriba"), t(service.role), who].filter(Boolean).join(" · ");
}

function chart(element, name) {
  const queue = depths[name];
  const most = Math.max(10, ...queue);
  const step = WIDTH / (SECONDS - 1);
  const from = WIDTH - (queue.length - 1) * step;
  const points = queue.map((n, place) => `${(from + place * step).toFixed(1)} ${(HEIGHT - 2 - (n / most) * (HEIGHT - 4)).toFixed(1)}`);
  const line = points.length ? `M${points.join("L")}` : "";
  $(".line", element).setAttribute("d", line);
  $(".area", element).setAttribute("d", line && `${line}L${WIDTH} ${HEIGHT}L${from.toFixed(1)} ${HEIGHT}Z`);
  const now = queue.at(-1) ?? 0;
  $("svg", element).setAttribute("aria-label", t("colaDe", { nombre: name, n: number(now), m: number(Math.max(0, ...queue)) }));
  write($(".chart span", element), t("esperan", { n: number(now) }));
  $(".chart", element).toggleAttribute("data-busy", now > 0);
}

function drawRecords() {
  const shown = [...records.values()].sort((a, b) => b.id - a.id).slice(0, RECORDS);
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
  const all = [["/docs", "/docs"], ["/metrics", "/metrics"], ["/estado", "/estado"]];
  if (state?.gestion) all.push([t("gestion"), state.gestion]);
  const box = $("#links");
  if (box.childElementCount === all.length) return;
  box.replaceChildren(...all.map(([name, href]) => make("a", { href, textContent: name, rel: "noreferrer" })));
}
