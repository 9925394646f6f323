// The page: one listener, five parts.

import { ask, listen, operator, Problem, why } from "./api.js";
import { $, show, write } from "./dom.js";
import * as load from "./load.js";
import * as purchases from "./purchases.js";
import * as room from "./room.js";
import * as shop from "./shop.js";
import { switchLanguage, t, translate } from "./texts.js";
import * as verdict from "./verdict.js";

const THEME = "zoco.tema";
const THEMES = ["auto", "light", "dark"];
// A break that is shorter is nobody's concern.
const AWAY_MS = 1500;
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = localStorage.getItem(THEME) ?? "auto";
let link = "wait";
let away = null;

function drawTheme() {
  document.documentElement.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
  write($("#theme"), t(`tema${theme}`));
  $("#theme").title = t("tema");
}

function drawTools() {
  translate();
  drawTheme();
  write($("#language"), t("idioma"));
  $("#language").ariaLabel = t("idiomaEtiqueta");
  $("#language").lang = t("idioma") === "English" ? "en" : "es";
  write($("#operator"), t(operator.here ? "operadorSi" : "operador"));
  drawLink();
}

function drawLink() {
  $("#link").dataset.state = link;
  write($("#link .says"), t({ live: "conectada", wait: "conectando", away: "desconectada" }[link]));
  write($("#away"), t("fuera"));
}

function drawAll() {
  drawTools();
  shop.draw();
  purchases.draw();
  load.draw();
  verdict.draw();
  room.quiet();
}

function linked(state) {
  if (state === link) return;
  const back = link === "away";
  link = state;
  clearTimeout(away);
  if (state === "away") away = setTimeout(() => show($("#away"), true), AWAY_MS);
  else show($("#away"), false);
  drawLink();
  // What the others were doing meanwhile is not told again to who only looks at balances and tokens.
  if (state === "live" && back) shop.refresh();
}

async function enter(key) {
  // Anything else cannot be sent in a header.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    write($("#key-says"), t("claveMal"));
    return false;
  }
  try {
    await operator.enter({ headers: { Authorization: `Bearer ${key}` } });
    return true;
  } catch (error) {
    write($("#key-says"), error instanceof Problem && error.status === 401 ? t("claveMal") : why(error));
    return false;
  }
}

function openDialog() {
  show($("#leave"), operator.here);
  $("#key").showModal();
}

function closeDialog() {
  $("#token").value = "";
  write($("#key-says"), "");
  $("#key").close();
  drawAll();
}

function dialog() {
  $("#operator").onclick = openDialog;
  $("#close").onclick = () => $("#key").close();
  $("#leave").onclick = () => operator.leave().then(closeDialog, (error) => write($("#key-says"), why(error)));
  $("#key form").onsubmit = async (event) => {
    event.preventDefault();
    if (await enter($("#token").value.trim())) closeDialog();
  };
}

// `zoco operator` prints the page's address with a code behind a #. It leaves the address before it is tried, and is
// worth nothing afterwards.
async function codeFromAddress() {
  const found = /^#codigo=([\w-]+)$/.exec(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname);
  try {
    await operator.enter({ body: { codigo: found[1] } });
  } catch (error) {
    write($("#key-says"), error instanceof Problem && error.status === 401 ? t("codigoMal") : why(error));
    openDialog();
  }
}

async function start() {
  drawTools();
  document.documentElement.dataset.ready = "";
  $("#language").onclick = () => (switchLanguage(), drawAll());
  $("#theme").onclick = () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(THEME, theme);
    drawTheme();
  };
  dark.onchange = drawTheme;
  // What is off does nothing, also where it keeps the focus.
  document.addEventListener("click", (event) => event.target.closest("[data-off]") && event.stopPropagation(), true);
  dialog();
  load.start();
  verdict.start();
  room.onState(verdict.look);
  room.onState(room.links);
  room.onState(purchases.know);
  purchases.start(shop);
  listen({
    state: linked,
    start: (record) => {
      verdict.begin(record);
      purchases.again();
    },
    event: (kind, data, record) => {
      verdict.heard(kind, data, record);
      if (kind === "alta") return;
      room.heard(data);
      purchases.heard(data);
    },
  });
  await codeFromAddress();
  drawTools();
  load.draw();
  await Promise.all([shop.start(), room.start()]);
  if (operator.here && (await operator.over())) drawAll();
}

start();
