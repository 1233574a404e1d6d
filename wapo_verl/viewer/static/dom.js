// Builds elements. Text goes in as text nodes and never as HTML, so what a policy wrote is never run.

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "color") element.style.backgroundColor = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const MOST = 20000; // characters of one text that are shown until more are asked for

// What a policy wrote, with characters that could hide or reorder text shown by their code.
export function visible(text) {
  return String(text).replace(CONTROL, (found) => `\u27e8U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

// A prompt as a person would say it: without the template's marks and roles, in one line.
export function brief(text) {
  const said = String(text).replace(/<\|[^|>]{1,40}\|>/g, " ").replace(/\s+/g, " ").trim();
  return visible(said.replace(/^user /, "").replace(/ assistant$/, ""));
}

export function count(amount, word) {
  return `${amount.toLocaleString("en")} ${word}${amount === 1 ? "" : "s"}`;
}

export function long(text, name = "pre") {
  const whole = visible(text);
  const element = h(name, { class: "text", dir: "ltr" }, whole.slice(0, MOST));
  if (whole.length <= MOST) return element;
  const more = h("button", { type: "button" }, `show all ${whole.length.toLocaleString("en")} characters`);
  more.addEventListener("click", () => {
    element.textContent = whole;
    more.remove();
  });
  return h("div", {}, element, more);
}

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "\u2013";
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5 ? String(Number(value.toFixed(digits))) : value.toExponential(2);
}

// Where the page is: everything is in the address, so an address can be shared.
export function state() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

export function address(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${new URLSearchParams(kept)}`;
}

export function change(values) {
  location.hash = address({ ...state(), ...values });
}

// A chooser of one of the address's values; `others` are changed with it.
export function select(name, label, options, where, others = {}) {
  const items = Object.entries(options).map(([key, text]) => h("option", { value: key, selected: (where[name] ?? "") === key }, text));
  return h("label", {}, `${label} `, h("select", { onchange: (event) => change({ [name]: event.target.value, ...others }) }, items));
}
