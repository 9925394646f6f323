// Purchases: asked for under a key that is kept before it is sent, and followed to their end.
//
// What this browser asked for lies in localStorage until it is old. An entry without an id has had no answer yet: it
// is sent again, with its key, after a reload too, and the front door makes one purchase of it however often it comes.

import { ask, insist, newKey, Problem } from "./api.js";
import { make, once, show, write, $ } from "./dom.js";
import { number, t, time } from "./texts.js";

const STORED = "zoco.compras";
const KEPT = 20;
const SHOWN = 10;
const OTHERS = 4;
// Past so many a second, those of others are counted instead of shown.
const CROWD = 5;
// A purchase takes tens of milliseconds: who stands still for longer is in line, or waits for a service.
const SLOW_MS = 700;
const LINE_MS = 1500;
const LATEST_MS = 8000;
const STALE_MS = 3_600_000;
const STEPS = ["solicitada", "reservada", "pagada", "confirmada", "registrada"];

const mine = JSON.parse(localStorage.getItem(STORED) ?? "[]");
const lives = new Map(); // id -> the purchase as the front door last told it
const others = []; // ids of purchases that this browser did not ask for, newest first
const told = new Map(); // key -> ids that it was answered: two would be a doubled purchase
const nodes = new Map(); // what is shown -> its element
let shop = null;
let rate = 0;
let seen = true; // whether the newest purchase is on screen
let brokerAway = false;

const keep = () => localStorage.setItem(STORED, JSON.stringify(mine.slice(0, KEPT)));
const finished = (life) => life.estado === "registrada" || life.estado === "rechazada";
const awaited = (life) => mine.some((entry) => !entry.id && !entry.refusal && entry.usuarioId === life.usuarioId && entry.tokenId === life.tokenId);
const entryOf = (id) => mine.find((entry) => entry.id === id);

export const answers = { told, get lost() { return [...lives.values()].filter((life) => life.lost).length; } };

export function start(theShop) {
  shop = theShop;
  for (const entry of mine) if (!entry.id && !entry.refusal) send(entry);
  // The list's title, and room for a purchase below it.
  new IntersectionObserver(([title]) => {
    seen = title.isIntersecting;
    drawLatest();
  }, { rootMargin: "0px 0px -100px 0px" }).observe($("#purchases-title"));
  again();
  setInterval(watch, LINE_MS);
}

// After a break of unknown length: how all that is shown stands now.
export async function again() {
  const ids = [...mine.filter((entry) => entry.id).map((entry) => entry.id), ...others];
  // What was known already is no news to a listener.
  const tell = (life) => heard(life, lives.has(life.id));
  await Promise.allSettled(ids.map((id) => ask(`/compras/${id}`).then(tell).catch((error) => lose(id, error))));
}

function lose(id, error) {
  const entry = entryOf(id);
  // Only a shop that was reset forgets a purchase; that is said, and counted, until whoever asked for it lets it go.
  if (error instanceof Problem && error.status === 404 && entry) lives.set(id, { ...entry, lost: true });
  draw();
  shop.draw();
}

function forget(key) {
  const [entry] = mine.splice(mine.findIndex((one) => one.key === key), 1);
  lives.delete(entry.id);
  told.delete(key);
  keep();
  draw();
}

// Whether RabbitMQ is there: it is what a purchase waits for when it is not.
export function know(state) {
  brokerAway = Boolean(state) && !state.broker.conectado;
}

export const asking = (usuarioId, tokenId) =>
  mine.some((entry) => {
    if (entry.usuarioId !== usuarioId || entry.tokenId !== tokenId || entry.refusal) return false;
    const life = lives.get(entry.id);
    return !life || !(life.lost || finished(life));
  });

export function buy(usuarioId, token) {
  if (asking(usuarioId, token.id)) return;
  const entry = { key: newKey(), usuarioId, tokenId: token.id, precioMaximo: token.precio, hora: Date.now() };
  mine.unshift(entry);
  keep();
  draw();
  send(entry);
}

async function send(entry) {
  const body = { usuarioId: entry.usuarioId, tokenId: entry.tokenId, precioMaximo: entry.precioMaximo };
  const note = (changes) => {
    Object.assign(entry, changes);
    keep();
    draw();
    shop.draw();
  };
  const meanwhile = (error) => note({ trouble: error instanceof Problem ? "problema503" : "guardada" });
  let life;
  try {
    life = await insist("/compras", { key: entry.key, body, meanwhile });
  } catch (error) {
    note({ refusal: error.status === 422 ? ["problema422"] : ["problema", { detalle: error.message }] });
    return;
  }
  told.set(entry.key, (told.get(entry.key) ?? new Set()).add(life.id));
  note({ id: life.id, trouble: undefined });
  heard(life);
}

// News of a purchase: an event, or an answer. What is older than what is known changes nothing.
export function heard(life, aloud = true) {
  const known = lives.get(life.id);
  if (known && !known.lost && known.historia.length > life.historia.length) return;
  // What an answer is still awaited for may be this one: an event can be faster.
  const own = Boolean(entryOf(life.id)) || awaited(life);
  if (!own && !others.includes(life.id)) {
    // Test purchases are counted, and not shown.
    if (life.usuarioId >= shop.TEST_IDS || rate > CROWD) return;
    others.unshift(life.id);
    for (const gone of others.splice(OTHERS)) lives.delete(gone);
  }
  lives.set(life.id, { ...life, line: known?.line });
  if (aloud && own && life.estado !== known?.estado) say(life);
  draw();
  shop.heard(life);
}

export function crowded(perSecond) {
  rate = perSecond;
  const crowd = $("#crowd");
  show(crowd, perSecond > CROWD);
  show($("#none"), $("#lives").childElementCount === 0 && perSecond <= CROWD);
  if (perSecond > CROWD) write(crowd, t("otras", { n: number(Math.round(perSecond)) }));
}

function say(life) {
  write($("#heard"), t("oyo", { token: shop.tokenName(life.tokenId), estado: t(life.estado) }));
}

// Who stands still: in line, or waiting for whom?
async function watch() {
  const slow = mine.map((entry) => lives.get(entry.id)).filter((life) => life && !life.lost && !finished(life) && stands(life) > SLOW_MS);
  const waiting = slow.filter((life) => life.estado === "solicitada").slice(0, SHOWN);
  for (const tokenId of new Set(waiting.map((life) => life.tokenId))) {
    const token = await ask(`/tokens/${tokenId}`).catch(() => null);
    for (const life of waiting.filter((one) => one.tokenId === tokenId)) {
      const place = token ? token.cola.indexOf(life.id) : -1;
      life.line = place >= 0 ? place + 1 : null;
    }
  }
  if (slow.length || !$("#latest").hidden) draw();
}

const stands = (life) => Date.now() - Date.parse(life.historia.at(-1).fecha);

function explain(entry, life) {
  if (!life) return entry.refusal ? t(...entry.refusal) : t(entry.trouble ?? "pidiendo");
  if (life.lost) return t("olvidada");
  if (life.estado === "rechazada") return t(life.motivo);
  if (life.estado === "registrada") return t("anotada", { n: number(life.transaccionId) });
  if (life.line) return life.line > 1 ? t("enFila", { n: number(life.line) }) : t("primeraFila");
  if (stands(life) < SLOW_MS) return "";
  if (brokerAway) return t("esperaBroker");
  return { solicitada: t("esperaTokens"), reservada: t("esperaPago"), pagada: t("esperaLibro"), confirmada: t("esperaLibro") }[life.estado];
}

export const draw = once(() => {
  const shown = mine.slice(0, SHOWN).map((entry) => [entry.key, entry, lives.get(entry.id)]);
  for (const id of others.slice(0, Math.max(0, SHOWN - shown.length))) shown.push([id, null, lives.get(id)]);
  const list = $("#lives");
  const rows = shown.filter(([, entry, life]) => entry || life).map(([key, entry, life]) => {
    if (!nodes.has(key)) nodes.set(key, row(key));
    fill(nodes.get(key), entry ?? life, life);
    return nodes.get(key);
  });
  const keys = new Set(shown.map(([key]) => key));
  for (const key of nodes.keys()) if (!keys.has(key)) nodes.delete(key);
  rows.forEach((element, place) => {
    if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
  });
  while (list.children.length > rows.length) list.lastChild.remove();
  show($("#none"), rows.length === 0 && rate <= CROWD);
  drawLatest();
});

// Where the list is out of sight the newest purchase shows at the screen's edge, until it has been over for a while.
function drawLatest() {
  const [entry] = mine;
  const life = entry && lives.get(entry.id);
  const fresh = entry && !life?.lost && (!life || !finished(life) || stands(life) < LATEST_MS) && Date.now() - entry.hora < STALE_MS;
  show($("#latest"), Boolean(fresh) && !seen);
  if (!fresh) return;
  paint($("#latest img"), entry.tokenId);
  write($("#latest b"), t("compraDe", { token: shop.tokenName(entry.tokenId), quien: shop.buyerName(entry.usuarioId) }));
  write($("#latest small"), explain(entry, life) || t(life.estado));
}

function paint(img, tokenId) {
  const picture = shop.picture(tokenId);
  if (!picture) img.removeAttribute("src");
  else if (img.getAttribute("src") !== picture) img.src = picture;
}

function row(key) {
  const steps = make("ol", { className: "steps" }, ...STEPS.map((step) => make("li", { data: { step } }, make("span"), make("b"))));
  return make("li", { className: "life" },
    make("img", { alt: "", width: 44, height: 44 }),
    make("p", { className: "what" }, make("span"), make("time")),
    steps,
    make("p", { className: "why" }, make("span"), make("button", { type: "button", className: "small", onclick: () => forget(key) })));
}

function fill(element, entry, life) {
  paint($("img", element), entry.tokenId);
  write($(".what span", element), t("compraDe", { token: shop.tokenName(entry.tokenId), quien: shop.buyerName(entry.usuarioId) }));
  write($("time", element), time(life?.fecha ?? entry.hora));
  const historia = life?.historia ?? [];
  const refused = life?.estado === "rechazada";
  const reached = historia.map((paso) => paso.estado);
  const start = Date.parse(life?.fecha ?? 0);
  for (const [place, step] of [...$(".steps", element).children].entries()) {
    const name = refused && place === reached.length - 1 ? "rechazada" : STEPS[place];
    const paso = historia.find((one) => one.estado === name);
    step.toggleAttribute("data-done", Boolean(paso) && name !== "rechazada");
    step.toggleAttribute("data-refused", name === "rechazada");
    step.toggleAttribute("data-now", Boolean(life) && !life.lost && !refused && !paso && place === reached.length);
    write($("span", step), refused && !paso ? "" : t(name));
    write($("b", step), paso && place > 0 ? span(Date.parse(paso.fecha) - start) : "");
  }
  const because = explain(entry, life);
  write($(".why span", element), because);
  write($(".why button", element), t("olvidar"));
  show($(".why button", element), Boolean(life?.lost));
  show($(".why", element), because !== "");
  element.dataset.end = refused || entry.refusal ? "rechazada" : life?.estado === "registrada" ? "registrada" : life?.lost ? "rechazada" : because ? "wait" : "";
}

const span = (ms) => (ms < 1000 ? `+${Math.max(0, ms)} ms` : `+${number(Math.round(ms / 100) / 10)} s`);
