// The page's own words for elements, and the two places where it speaks.

export const $ = (id) => document.getElementById(id);

/** Return a new element: attributes by name, functions as listeners, then children. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Set an element's text only where it changes, so that a live region speaks once. */
export function show(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Tell a screen reader what has happened. */
export function say(text) {
  $("said").textContent = text;
}

/** Show a failure, with what to do about it, until it is dismissed. */
export function trouble(error) {
  $("trouble-text").textContent = error.code ? `${error.text} (${error.code})` : String(error.message ?? error);
  $("trouble").hidden = false;
}

export function noTrouble() {
  $("trouble").hidden = true;
}

/** Run what a person asked for; a failure is shown. */
export function doing(work) {
  return async (...given) => {
    try {
      return await work(...given);
    } catch (error) {
      trouble(error);
      return undefined;
    }
  };
}

/** Return a press-button's maker: its label, what it does, and how it is reached from the keyboard. */
export function button(label, work, attributes = {}) {
  return el("button", { type: "button", click: doing(work), ...attributes }, label);
}
