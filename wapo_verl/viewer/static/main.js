// Which screen is shown (by the address), the path at the top, and the keys.

import { compareScreen } from "./compare_screen.js";
import { address, h, state, visible } from "./dom.js";
import { episodeScreen } from "./episode_screen.js";
import { groupScreen } from "./group_screen.js";
import { questionScreen, questionsScreen } from "./questions_screen.js";
import { isLive, runScreen, runsScreen } from "./run_screen.js";
import { stepScreen } from "./step_screen.js";
import { moveToken } from "./tokens.js";
import { get } from "./api.js";

const LIVE_SECONDS = 3;
const KEYS = [
  ["j, k or down, up", "next, previous link of the list"],
  ["Enter", "open it"],
  ["left, right", "previous, next token"],
  ["u or Backspace", "one level up"],
  ["/", "search"],
  ["?", "these keys"],
];
const main = document.getElementById("main");
const PLACE = ["run", "set", "table", "asked", "step", "group", "key", "compare"]; // what the page shows; the rest is how it shows it
let asked = 0;
let shown = "";

function screenOf(where) {
  if (where.compare) return compareScreen;
  if (where.key) return episodeScreen;
  if (where.group) return groupScreen;
  if (where.step) return stepScreen;
  if (where.asked) return questionScreen;
  if (where.table) return questionsScreen;
  return where.run ? runScreen : runsScreen;
}

async function show(quiet = false) {
  const ticket = ++asked;
  const where = state();
  if (!quiet) main.setAttribute("aria-busy", "true");
  let content;
  try {
    content = await screenOf(where)(where);
  } catch (error) {
    if (quiet) return;
    content = h("section", {}, h("h1", {}, "This cannot be shown"), h("p", { class: "warning", role: "alert" }, error.message));
  }
  if (ticket !== asked) return;
  const scroll = window.scrollY;
  const at = quiet ? items().indexOf(document.activeElement) : -1;
  main.replaceChildren(content);
  main.removeAttribute("aria-busy");
  const place = PLACE.map((name) => where[name] ?? "").join();
  window.scrollTo(0, place === shown ? scroll : 0);
  shown = place;
  if (!quiet) main.focus({ preventScroll: true }); // at once: a key that is pressed next moves the focus on
  if (at >= 0) items()[at]?.focus({ preventScroll: true });
  main.querySelector(".token.here")?.scrollIntoView({ block: "center" });
  await crumbs(where);
}

async function crumbs(where) {
  const runs = await get("/api/runs").catch(() => []);
  const parts = [["runs", {}]];
  const base = { run: where.run };
  if (where.run) parts.push([runs[Number(where.run)]?.name ?? where.run, base]);
  if (where.table || where.asked) parts.push([where.table ?? "questions", { ...base, set: where.set, table: where.table ?? "questions" }]);
  if (where.asked) parts.push(["question", where]);
  if (where.step) parts.push([`${where.set} ${where.step}`, { ...base, set: where.set, step: where.step }]);
  if (where.group) parts.push(["group", { ...base, set: where.set, step: where.step, group: where.group }]);
  if (where.key) parts.push(["completion", where]);
  if (where.compare) parts.push(["compare", where]);
  const links = parts.map(([text, values], place) => h("li", {}, place === parts.length - 1 ? h("span", { "aria-current": "page" }, visible(text)) : h("a", { href: address(values) }, visible(text))));
  document.getElementById("crumbs").replaceChildren(h("ol", {}, links));
  document.title = parts.map(([text]) => text).reverse().join(" < ");
}

const items = () => [...main.querySelectorAll("[data-item]")];

function move(by) {
  const all = items();
  const now = all.indexOf(document.activeElement);
  all[Math.min(Math.max(now + by, 0), all.length - 1)]?.focus();
}

function up() {
  const links = [...document.querySelectorAll("#crumbs a")];
  links.at(-1)?.click();
}

function help() {
  const dialog = document.getElementById("help");
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(h("h2", { id: "help-title" }, "Keys"), h("table", {}, h("tbody", {}, KEYS.map(([keys, text]) => h("tr", {}, h("th", { scope: "row" }, keys), h("td", {}, text))))), close);
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const actions = {
    j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
    ArrowRight: () => moveToken(1), ArrowLeft: () => moveToken(-1), u: up, Backspace: up, "?": help,
    "/": () => main.querySelector("[data-search]")?.focus(),
  };
  const action = actions[event.key];
  if (action === undefined || (event.key.startsWith("Arrow") && main.querySelector("[data-item], .token") === null)) return;
  event.preventDefault();
  action();
});

const dark = matchMedia("(prefers-color-scheme: dark)");
const setDark = () => {
  if (dark.matches) document.documentElement.dataset.dark = "1";
  else delete document.documentElement.dataset.dark;
};
dark.addEventListener("change", setDark);
setDark();
document.getElementById("help-button").addEventListener("click", help);
window.addEventListener("hashchange", () => show());
setInterval(() => {
  const busy = document.activeElement?.matches("input, select") || document.hidden;
  if (isLive(state()) && !busy) show(true);
}, LIVE_SECONDS * 1000);
show();
