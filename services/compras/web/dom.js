// Small helpers: elements, and drawing all that changed at once.

export const $ = (selector, from = document) => from.querySelector(selector);

// An element with properties, and children. `data` and `aria` become attributes.
export function make(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

// Write only what changed: nothing flickers, and a selection or a focus stays where it is.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

// A browser takes the focus from a button that is `disabled`, and who works by keyboard loses their place: the one that
// has the focus is only called so, until it is left.
export function off(button, whether) {
  const kept = whether && button === document.activeElement;
  button.toggleAttribute("data-off", whether);
  if (button.disabled !== (whether && !kept)) button.disabled = whether && !kept;
  if ((button.ariaDisabled === "true") !== kept) button.ariaDisabled = String(kept);
}

// A reader takes in no more than ten pictures a second. One with each frame cost the browser a third more at 200
// purchases a second, and it shares the machine with the services.
const STANDS_MS = 100;
const HIDDEN_MS = 500;
const wanted = new Set();
let drawn = -HIDDEN_MS;

// `draw`, once, with the next picture, however often it was asked for.
export function once(draw) {
  return () => {
    if (wanted.size === 0) plan();
    wanted.add(draw);
  };
}

function plan() {
  const pause = drawn + (document.hidden ? HIDDEN_MS : STANDS_MS) - performance.now();
  if (pause > 0) setTimeout(picture, pause);
  else requestAnimationFrame(picture);
}

function picture() {
  const draws = [...wanted];
  wanted.clear();
  drawn = performance.now();
  for (const draw of draws) draw();
}
