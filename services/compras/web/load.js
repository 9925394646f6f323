// Buying without a pause: publishes tokens and buys them, one by one, so many a second. For the operator.

import { ask, notYet, operator, why } from "./api.js";
import { $, off, once, write } from "./dom.js";
import { PICTURES, TEST_BUYERS, TEST_IDS } from "./shop.js";
import { number, t } from "./texts.js";

const TICK_MS = 100;
// A browser opens six connections, and one of them listens.
const AT_ONCE = 5;
// Tokens are published at least so many at a time, before the last ones are bought.
const LOT = 5;
const SALDO = 10 ** 9;

let speed = 0;
let owed = 0;
let ticked = 0;
let flying = 0;
let publishing = false;
let next = Date.now() * 1000;
const stock = [];
let asked = 0;
let accepted = 0;
let trouble = "";
let ready = false;
let rests = 0; // until then, when this address has asked more than its share
const times = [];

export function start() {
  for (const button of document.querySelectorAll(".speeds button")) button.onclick = () => set(Number(button.dataset.speed));
  setInterval(tick, TICK_MS);
  draw();
}

async function set(perSecond) {
  if (perSecond && !operator.here) {
    $("#operator").click();
    return;
  }
  [speed, owed, trouble] = [perSecond, 0, ""];
  draw();
  if (!perSecond || ready) return;
  try {
    await Promise.all(Array.from({ length: TEST_BUYERS }, (_, n) =>
      ask(`/usuarios/${TEST_IDS + n}`, { method: "PUT", body: { nombre: `Prueba ${n + 1}`, saldo: SALDO } })));
    ready = true;
  } catch (error) {
    stop(error);
  }
}

function stop(error) {
  speed = 0;
  trouble = why(error);
  draw();
}

// A busy machine leaves ticks out: what is owed goes by the clock.
function tick() {
  const passed = performance.now() - ticked;
  ticked += passed;
  if (speed && ready) {
    owed = Math.min(owed + (speed * passed) / 1000, speed);
    go();
  }
  // Until what was still on its way is counted, and the rate has come down.
  if (speed || times.length) draw();
}

// As many as are owed, and as many at once as there is room for.
function go() {
  if (performance.now() < rests) return;
  if (speed && owed >= 1 && stock.length < lot() / 2 && !publishing) publish();
  while (speed && owed >= 1 && flying < AT_ONCE && stock.length) {
    owed -= 1;
    flying += 1;
    one(stock.shift()).finally(() => {
      flying -= 1;
      go();
    });
  }
}

const lot = () => Math.max(LOT, speed / 4);

async function publish() {
  publishing = true;
  const tokens = Array.from({ length: lot() }, () => {
    const id = (next += 1);
    return { id, nombre: `Prueba ${id % 100_000}`, imagen: PICTURES[id % PICTURES.length], precio: 1 };
  });
  const published = await tried("/tokens", { body: tokens });
  if (published) stock.push(...tokens.map((token) => token.id));
  publishing = false;
  // After trouble the next tick is soon enough.
  if (published) go();
}

async function one(tokenId) {
  asked += 1;
  const body = { usuarioId: TEST_IDS + (tokenId % TEST_BUYERS), tokenId };
  if (!await tried("/compras", { body, headers: { "Idempotency-Key": `carga-${tokenId}` } })) return;
  accepted += 1;
  times.push(Date.now());
}

// Whether it was accepted.
async function tried(path, options) {
  try {
    await ask(path, { method: "POST", ...options });
    trouble = "";
    return true;
  } catch (error) {
    // Away or full: the next ones go on trying, at the same speed. Anything else would fail for ever.
    if (notYet(error)) [trouble, rests] = [why(error), performance.now() + (error.restMs ?? 0)];
    else stop(error);
    return false;
  }
}

export const draw = once(() => {
  for (const button of document.querySelectorAll(".speeds button")) {
    const mine = Number(button.dataset.speed);
    if (mine) button.setAttribute("aria-pressed", String(mine === speed));
    else off(button, !speed);
  }
  const since = Date.now() - 2000;
  while (times.length && times[0] < since) times.shift();
  const figures = t("cargaDice", { a: number(asked), b: number(accepted), r: number(Math.round(times.length / 2)) });
  // Half a second behind: five connections carry no more at this latency.
  const slow = speed && owed > speed / 2 ? t("cargaTope", { n: number(speed) }) : "";
  write($("#load-says"), asked ? [figures, slow, trouble].filter(Boolean).join(" · ") : trouble || t(operator.here ? "cargaNota" : "cargaOperador"));
});
