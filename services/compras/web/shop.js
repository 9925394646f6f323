// The shop: who buys, what is for sale, and what has become of it.

import { ask, insist, newKey, operator, Problem, why } from "./api.js";
import { $, make, off, once, show, write } from "./dom.js";
import * as purchases from "./purchases.js";
import { number, t } from "./texts.js";

const BUYER = "zoco.comprador";
const SHOWN = 48;
// Test buyers and test tokens have higher ids, and are not for sale by hand.
export const TEST_IDS = 900_000;
const REFRESH_MS = 5000;
const LOOK_MS = 120;
const SAID_MS = 8000;

// The rest of the pictures, for the operator to publish.
const COLLECTION = [
  [103, "Ajolote Dorado", "ajolote.jpg", 40], [104, "Ballena de Mar Alto", "ballena.jpg", 60],
  [105, "Búho de Guardia", "buho.jpg", 35], [106, "Cactus en Flor", "cactus.jpg", 25],
  [107, "Caracol Paciente", "caracol.jpg", 20], [108, "Cohete de Papel", "cohete.jpg", 55],
  [109, "Faro sin Sueño", "faro.jpg", 45], [110, "Medusa Lunar", "medusa.jpg", 50],
  [111, "Tetera de Russell", "tetera.jpg", 30], [112, "Volcán Tranquilo", "volcan.jpg", 65],
  [113, "Zorro del Norte", "zorro.jpg", 40], [114, "Abeja Reina", "abeja.jpg", 30],
];
export const PICTURES = ["gato.jpg", "luna.jpg", ...COLLECTION.map(([, , imagen]) => imagen)];

const tokens = new Map();
const users = new Map();
const cards = new Map();
const looks = new Set();
let buyer = Number(localStorage.getItem(BUYER)) || null;
let more = false; // tokens or buyers that there is no room for here
let said = null;

const unknown = (id) => (id < TEST_IDS ? `n.º ${id}` : t("prueba", { n: id % 100_000 }));
export const tokenName = (id) => tokens.get(id)?.nombre ?? unknown(id);
export const buyerName = (id) => users.get(id)?.nombre ?? unknown(id);
export const picture = (id) => (tokens.has(id) ? `/imagenes/${tokens.get(id).imagen}` : "");

export function start() {
  $("#collection button").onclick = publish;
  setInterval(() => document.hidden || refresh(), REFRESH_MS);
  return refresh();
}

export async function refresh() {
  const [list, people] = await Promise.allSettled([ask(`/tokens?limite=${SHOWN + 1}`), ask(`/usuarios?limite=${SHOWN + 1}`)]);
  const found = [list, people].map((told) => (told.value ?? []).filter((row) => row.id < TEST_IDS));
  more ||= found.some((rows) => rows.length > SHOWN);
  [tokens, users].forEach((known, place) => take(known, found[place].slice(0, SHOWN)));
  // With the front door away nobody knows how the others are, and the page says that elsewhere.
  const failed = [list, people].find((result) => result.reason instanceof Problem);
  show($("#shop-trouble"), Boolean(failed));
  if (failed) write($("#shop-trouble"), t("caido", { nombre: failed === list ? "tokens" : "usuarios" }));
  if (!users.has(buyer)) buyer = users.keys().next().value ?? buyer;
  draw();
  purchases.draw();
}

function take(into, rows) {
  for (const row of rows) into.set(row.id, { ...into.get(row.id), ...row });
}

// Something happened to a purchase: what is shown of its token and its buyer may have changed.
export function heard(life) {
  if (!tokens.has(life.tokenId) && !users.has(life.usuarioId)) return;
  const token = tokens.get(life.tokenId);
  if (token && life.estado === "reservada" && !token.vendido) token.holder = life.usuarioId;
  if (token && (life.estado === "confirmada" || life.estado === "registrada")) Object.assign(token, { vendido: true, owner: life.usuarioId });
  if (life.estado === "rechazada" || life.estado === "reservada") looks.add(`/tokens/${life.tokenId}`);
  if (life.estado === "pagada" || life.estado === "registrada") looks.add(`/usuarios/${life.usuarioId}`);
  if (looks.size === 1) setTimeout(look, LOOK_MS);
  draw();
}

async function look() {
  const paths = [...looks];
  looks.clear();
  for (const path of paths) {
    const row = await ask(path).catch(() => null);
    if (row && path.startsWith("/tokens") && tokens.has(row.id)) own(row);
    if (row && path.startsWith("/usuarios") && users.has(row.id)) take(users, [row]);
  }
  draw();
}

function own(row) {
  const { reserva, cola, ...token } = row;
  const holder = reserva?.usuarioId ?? null;
  take(tokens, [{ ...token, holder: token.vendido ? null : holder, owner: token.vendido ? holder : null, asked: true }]);
}

async function publish() {
  off($("#collection button"), true);
  const body = COLLECTION.map(([id, nombre, imagen, precio]) => ({ id, nombre, imagen, precio }));
  try {
    await ask("/tokens", { method: "POST", body, asOperator: true, headers: { Prefer: "wait=5" } });
  } catch (error) {
    tell(t("noPublicado", { detalle: why(error) }));
  }
  off($("#collection button"), false);
  await refresh();
}

function tell(text) {
  write($("#shop-says"), text);
  show($("#shop-says"), true);
  clearTimeout(said);
  said = setTimeout(() => show($("#shop-says"), false), SAID_MS);
}

// One click, one key: it is sent until there is an answer, and counts once.
async function topUp(user, button) {
  const quien = user.nombre;
  const asked = { key: newKey(), body: { monto: 100 }, asOperator: true, headers: { Prefer: "wait=3" } };
  off(button, true);
  try {
    const told = await insist(`/usuarios/${user.id}/recargas`, { ...asked, meanwhile: () => tell(t("recargaSinRespuesta", { quien })) });
    tell(t(told.estado === "aplicada" ? "recargado" : "recargaEspera", { quien }));
  } catch (error) {
    tell(t("noRecargado", { quien, detalle: why(error) }));
  }
  off(button, false);
  looks.add(`/usuarios/${user.id}`);
  await look();
}

export const draw = once(() => {
  drawBuyers();
  const list = $("#cards");
  const shown = [...tokens.values()].sort((a, b) => a.id - b.id);
  for (const token of shown) {
    if (!cards.has(token.id)) list.append(cards.set(token.id, card(token)).get(token.id));
    fill(cards.get(token.id), token);
    if (token.vendido && !token.owner && !token.asked) {
      token.asked = true;
      looks.add(`/tokens/${token.id}`);
      if (looks.size === 1) setTimeout(look, LOOK_MS);
    }
  }
  show($("#more"), more);
  write($("#more"), t("hayMas", { n: SHOWN }));
  show($("#collection"), Boolean(operator.token) && tokens.size > 0 && !COLLECTION.some(([id]) => tokens.has(id)));
});

function drawBuyers() {
  const group = $("#buyers .people");
  let chosen = null;
  for (const user of users.values()) {
    let person = $(`[data-id="${user.id}"]`, group);
    if (!person) {
      const id = `buyer-${user.id}`;
      const input = make("input", { type: "radio", name: "buyer", id, value: user.id, onchange: () => choose(user.id) });
      const label = make("label", { htmlFor: id }, make("span", { className: "face", aria: { hidden: true } }), make("span", {}, make("span"), make("small")));
      const add = make("button", { className: "small", type: "button", onclick: () => topUp(users.get(user.id), add) });
      person = make("div", { className: "person", data: { id: user.id } }, input, label, add);
      group.append(person);
      if (user.id === buyer) chosen = person;
    }
    $("input", person).checked = user.id === buyer;
    write($(".face", person), [...user.nombre][0]);
    write($("label span span", person), user.nombre);
    write($("small", person), t("saldo", { n: number(user.saldo) }));
    const add = $("button", person);
    show(add, Boolean(operator.token));
    write(add, t("recargar"));
    add.ariaLabel = t("recargarEtiqueta", { quien: user.nombre });
  }
  // Who bought last time is in sight.
  if (chosen) group.scrollTop = chosen.offsetTop - group.firstChild.offsetTop;
}

function choose(id) {
  buyer = id;
  localStorage.setItem(BUYER, id);
  draw();
}

function card(token) {
  const img = make("img", { alt: "", loading: "lazy", decoding: "async", width: 480, height: 480, src: `/imagenes/${token.imagen}` });
  img.onerror = () => setTimeout(() => { img.src = `${img.src.split("?")[0]}?${Date.now()}`; }, REFRESH_MS);
  return make("article", { className: "card", data: { id: token.id } },
    make("div", { className: "art" }, img, make("span", { className: "badge", hidden: true })),
    make("div", { className: "body" }, make("h3"), make("button", { type: "button", onclick: () => purchases.buy(buyer, tokens.get(token.id)) })));
}

function fill(element, token) {
  write($("h3", element), token.nombre);
  const asking = purchases.asking(buyer, token.id);
  const state = token.vendido ? "sold" : token.holder ? "held" : "free";
  if (element.dataset.state !== state) element.dataset.state = state;
  const badge = $(".badge", element);
  show(badge, state !== "free");
  write(badge, state === "held" ? t("apartado") : token.owner ? t("vendidoA", { quien: buyerName(token.owner) }) : t("vendido"));
  const button = $("button", element);
  off(button, token.vendido || asking || !buyer);
  write(button, token.vendido ? t("vendido") : asking ? t("pidiendo") : t("comprar", { n: number(token.precio) }));
  const label = token.vendido || asking ? null : t("comprarEtiqueta", { token: token.nombre, n: number(token.precio), quien: buyerName(buyer) });
  if (button.ariaLabel !== label) button.ariaLabel = label;
}
