// Small helpers: elements, and drawing at most once a frame.

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

// `draw`, once, before the next picture, however often it was asked for. A hidden tab draws twice a second.
export function once(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    const run = () => {
      asked = false;
      draw();
    };
    if (document.hidden) setTimeout(run, 500);
    else requestAnimationFrame(run);
  };
}
