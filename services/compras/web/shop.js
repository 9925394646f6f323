// The shop: who buys, what is for sale, and what has become of it.

import { ask, insist, newKey, operator, Problem, why } from "./api.js";
import { $, make, off, once, show, write } from "./dom.js";
import * as purchases from "./purchases.js";
import { number, t } from "./texts.js";

const BUYER = "zoco.comprador";
const SHOWN = 48;
// Test buyers and test tokens have higher ids, and are not for sale by hand.
export const TEST_IDS = 900_000;
export const TEST_BUYERS = 5;
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
let gone = new Set(); // what was not in its list when last looked
let said = null;

// Those of the load have ids by the clock (load.js).
const TEST_TOKENS = 10 ** 12;
const strangers = new Map(); // addresses of what there is no room for here -> names, once they are known
const isTester = (id) => id >= TEST_IDS && id < TEST_IDS + TEST_BUYERS;
const testName = (n) => t("prueba", { n });
const named = (path, id) => strangers.get(`/${path}/${id}`) ?? `n.º ${id}`;
export const tokenName = (id) => tokens.get(id)?.nombre ?? (id < TEST_TOKENS ? named("tokens", id) : testName(id % 100_000));
export const buyerName = (id) => users.get(id)?.nombre ?? (isTester(id) ? testName(id - TEST_IDS + 1) : named("usuarios", id));

// Ask for the names that are to be shown and are not known; whether one is now.
export async function meet(buyerId, tokenId) {
  const paths = [];
  if (buyerId && !users.has(buyerId) && !isTester(buyerId)) paths.push(`/usuarios/${buyerId}`);
  if (tokenId && !tokens.has(tokenId) && tokenId < TEST_TOKENS) paths.push(`/tokens/${tokenId}`);
  const met = await Promise.all(paths.filter((path) => !strangers.has(path)).map(async (path) => {
    strangers.set(path, undefined);
    const row = await ask(path).catch(() => null);
    if (row) strangers.set(path, row.nombre);
    else strangers.delete(path);
    return row !== null;
  }));
  return met.some(Boolean);
}
export const picture = (id) => (tokens.has(id) ? `/imagenes/${tokens.get(id).imagen}` : "");

export function start() {
  $("#collection button").onclick = publish;
  setInterval(() => document.hidden || refresh(), REFRESH_MS);
  return refresh();
}

export async function refresh() {
  // These two addresses stand in index.html, too: they are on their way before this is.
  const [list, people] = await Promise.allSettled([ask(`/tokens?limite=${SHOWN + 1}`), ask(`/usuarios?limite=${SHOWN + 1}`)]);
  const missing = new Set();
  for (const [known, told] of [[tokens, list.value], [users, people.value]]) {
    const rows = (told ?? []).filter((row) => row.id < TEST_IDS);
    take(known, rows.slice(0, SHOWN));
    if (told) leave(known, rows, missing);
  }
  gone = missing;
  // With the front door away nobody knows how the others are, and the page says that elsewhere.
  const failed = [list, people].find((result) => result.reason instanceof Problem);
  show($("#shop-trouble"), Boolean(failed));
  if (failed) write($("#shop-trouble"), t("caido", { nombre: failed === list ? "tokens" : "usuarios" }));
  if (!users.has(buyer)) buyer = users.keys().next().value ?? buyer;
  draw();
  purchases.draw();
}

// Only a shop that was reset has fewer than before; and a replica that is a moment behind, which is why it is asked twice.
function leave(known, rows, missing) {
  known.more = rows.length > SHOWN;
  const there = new Set(rows.map((row) => row.id));
  for (const id of known.keys()) {
    if (there.has(id) || (known.more && id > rows[SHOWN - 1].id)) continue;
    const name = `${known === tokens ? "token" : "user"} ${id}`;
    if (gone.has(name)) known.delete(id);
    else missing.add(name);
  }
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
    await ask("/tokens", { method: "POST", body, headers: { Prefer: "wait=5" } });
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
  const asked = { key: newKey(), body: { monto: 100 }, headers: { Prefer: "wait=3" } };
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
  for (const [id, element] of cards) {
    if (tokens.has(id)) continue;
    element.remove();
    cards.delete(id);
  }
  show($("#more"), Boolean(tokens.more || users.more));
  write($("#more"), t("hayMas", { n: SHOWN }));
  show($("#collection"), Boolean(operator.here) && tokens.size > 0 && !COLLECTION.some(([id]) => tokens.has(id)));
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
    show(add, Boolean(operator.here));
    write(add, t("recargar"));
    add.ariaLabel = t("recargarEtiqueta", { quien: user.nombre });
  }
  for (const person of [...group.children]) if (!users.has(Number(person.dataset.id))) person.remove();
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
  if (token.owner) meet(token.owner).then((met) => met && draw());
  write(badge, state === "held" ? t("apartado") : token.owner ? t("vendidoA", { quien: buyerName(token.owner) }) : t("vendido"));
  const button = $("button", element);
  off(button, token.vendido || asking || !buyer);
  write(button, token.vendido ? t("vendido") : asking ? t("pidiendo") : t("comprar", { n: number(token.precio) }));
  const label = token.vendido || asking ? null : t("comprarEtiqueta", { token: token.nombre, n: number(token.precio), quien: buyerName(buyer) });
  if (button.ariaLabel !== label) button.ariaLabel = label;
}
