// The questions and gold documents of a whole run, sorted and filtered; and one question: where it was asked.

import { get, isExport } from "./api.js";
import { chart } from "./charts.js";
import { address, brief, change, count, h, number, select, visible } from "./dom.js";

const TABLES = {
  questions: {
    filters: { all: "all", never: "never a winner", wrong: "never right", right: "always right", missed: "a document missed", worse: "worse than at first" },
    columns: [
      ["groups", "asked", (row) => number(row.groups)],
      ["winners", "groups with a winner", (row) => (row.several === 0 ? "\u2013" : `${row.winners} of ${row.several}`)],
      ["first", "reward at first", (row) => `${number(row.first)} (step ${row.first_step})`],
      ["last", "at last", (row) => `${number(row.last)} (step ${row.last_step})`],
      ["missed", "documents missed", (row) => (row.missed === 0 ? "0" : `${row.missed}: ${row.documents.slice(0, 3).map(visible).join(", ")}${row.documents.length > 3 ? ", ..." : ""}`)],
    ],
    link: (row, where) => ({ run: where.run, set: where.set, asked: row.id }),
  },
  documents: {
    filters: { all: "all", missed: "missed", always: "missed every time", still: "missed the last time" },
    columns: [
      ["wanted", "needed by completions", (row) => number(row.wanted)],
      ["missed", "missed", (row) => number(row.missed)],
      ["share", "share missed", (row) => percent(row.share)],
      ["first", "at first", (row) => `${percent(row.first)} (step ${row.first_step})`],
      ["last", "at last", (row) => `${percent(row.last)} (step ${row.last_step})`],
      ["missing_groups", "groups that missed it", (row) => `${row.missing_groups} of ${row.groups}`],
      ["questions", "questions", (row) => number(row.questions)],
    ],
    link: (row, where) => ({ run: where.run, set: where.set, table: "questions", q: row.text }),
  },
};
const MOST_LINKS = 40;
const READING_SECONDS = 3;

const percent = (share) => `${Math.round(100 * share)} %`;

export async function questionsScreen(where) {
  const table = TABLES[where.table] ?? TABLES.questions;
  const by = where.table in TABLES ? where.table : "questions";
  const view = { by, show: where.show ?? "all", q: where.q ?? "", sort: where.sort ?? "missed", down: where.down ?? "1", start: where.start ?? "0" };
  const found = await get(`/api/runs/${where.run}/sets/${where.set}/questions`, true, view);
  const [from, to] = [Number(view.start), Number(view.start) + found.rows.length];
  const other = by === "questions" ? "documents" : "questions";
  const input = h("input", { type: "search", "data-search": "", value: view.q, placeholder: "question or document", "aria-label": "Search in the whole run", onchange: (event) => change({ q: event.target.value, start: null }) });
  return h(
    "section",
    {},
    h("h1", {}, by === "questions" ? `Questions of ${where.set}, all steps` : `Gold documents of ${where.set}, all steps`),
    progress(found),
    h("div", { class: "controls" }, h("a", { href: address({ run: where.run, set: where.set, table: other }) }, `${other} instead`), select("show", "show", table.filters, where, { start: null }), input),
    h("p", { class: "quiet" }, `${count(found.total, by === "questions" ? "question" : "document")}${found.rows.length < found.total ? `, ${from + 1} to ${to} shown` : ""}. A column's name sorts by it.`),
    h("div", { class: "wide-table" }, h("table", {}, head(table, by, view), h("tbody", {}, found.rows.map((row) => line(row, table, where))))),
    pages(found, from, to),
  );
}

function head(table, by, view) {
  const column = (key, text) => {
    const sorted = view.sort === key;
    const down = sorted && view.down === "1" ? "0" : "1";
    return h("th", { scope: "col", "aria-sort": sorted ? (view.down === "1" ? "descending" : "ascending") : null }, h("button", { type: "button", onclick: () => change({ sort: key, down, start: null }) }, text, sorted ? (view.down === "1" ? " \u2193" : " \u2191") : ""));
  };
  return h("thead", {}, h("tr", {}, h("th", { scope: "col" }, by === "questions" ? "question" : "document"), table.columns.map(([key, text]) => column(key, text))));
}

function line(row, table, where) {
  const name = h("th", { scope: "row", class: "question" }, h("a", { href: address(table.link(row, where)), "data-item": "" }, brief(row.text)));
  return h("tr", {}, name, table.columns.map(([, , text]) => h("td", {}, text(row))));
}

function pages(found, from, to) {
  const size = Math.max(to - from, 1);
  const button = (start, text) => h("button", { type: "button", onclick: () => change({ start: String(start) }) }, text);
  return h("p", {}, from > 0 ? button(Math.max(from - size, 0), "previous rows") : null, " ", to < found.total ? button(to, "next rows") : null);
}

function progress(found) {
  const errors = (found.errors ?? []).map((text) => h("p", { class: "warning" }, visible(text)));
  if (found.known + errors.length >= found.steps) return errors.length > 0 ? h("div", {}, errors) : null;
  return h("div", {}, h("p", { class: "warning", role: "status" }, `${found.known} of ${count(found.steps, "step")} known so far: the others are being read.`), errors);
}

export async function questionScreen(where) {
  const found = await get(`/api/questions/${where.asked}`, true);
  if (found.text === null) return h("section", {}, h("h1", {}, "Question"), progress(found), h("p", {}, "No step that is known asks it."));
  return h("section", {}, h("h1", {}, brief(found.text)), progress(found), found.places.map((place) => groupTable(place, where)));
}

// What one set of one run made of the question: its mean reward over the steps, and a row a group.
function groupTable(place, where) {
  const curve = chart("mean reward", [{ name: place.name, steps: place.groups.map((group) => group.step), values: place.groups.map((group) => group.mean) }], [], (step) => {
    location.hash = address({ ...groupOf(place, place.groups.find((group) => group.step === step)) });
  });
  const here = String(place.run) === where.run && place.set === where.set;
  const rows = place.groups.map((group) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: address(groupOf(place, group)), "data-item": "" }, `step ${group.step}`)), h("td", {}, number(group.mean)), h("td", {}, wins(group)), h("td", {}, Object.entries(group.missed).map(([name, times]) => `${visible(name)} (${times})`).join(", ") || "none")));
  return h("div", {}, h("h2", {}, `${visible(place.name)}, ${place.set}${here ? "" : " (elsewhere)"}: asked ${count(place.groups.length, "time")}`), place.groups.length > 1 ? h("div", { class: "charts" }, curve) : null, h("div", { class: "wide-table" }, h("table", {}, h("thead", {}, h("tr", {}, ["group", "mean reward", "winners", "documents missed (by how many)"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows))));
}

const groupOf = (place, group) => ({ run: place.run, set: place.set, step: group.step, group: group.group });

function wins(group) {
  const failed = group.failed > 0 ? `, ${group.failed} failed` : "";
  return group.completions < 2 ? `one completion${failed}` : `${group.winners} of ${group.completions}${failed}`;
}

// The way from a group or a completion to its question's own screen.
export function overTheRun(id, where) {
  return isExport ? null : h("a", { href: address({ run: where.run, set: where.set, asked: id }) }, "this question over the whole run");
}

// Where else a group's question was asked: at which steps, in which sets and runs that are open. It fills itself, for as
// long as steps are being read, so that no screen waits for it.
export function elsewhere(id, where) {
  if (isExport) return null;
  const box = h("div", { class: "elsewhere" });
  const fill = async () => {
    const found = await get(`/api/questions/${id}`, true);
    box.replaceChildren(...places(found, id, where));
    if (found.known < found.steps) setTimeout(() => box.isConnected && fill(), READING_SECONDS * 1000);
  };
  fill().catch((error) => box.replaceChildren(h("p", { class: "warning" }, error.message)));
  return box;
}

function places(found, id, where) {
  const isHere = (place, group) => String(place.run) === where.run && place.set === where.set && String(group.step) === where.step && group.group === where.group;
  const items = found.places.map((place) => {
    const groups = place.groups.filter((group) => !isHere(place, group));
    if (groups.length === 0) return null;
    const links = groups.slice(0, MOST_LINKS).map((group) => h("a", { href: address(groupOf(place, group)) }, `step ${group.step} (${number(group.mean, 2)})`));
    const more = groups.length > MOST_LINKS ? `and ${groups.length - MOST_LINKS} more` : null;
    return h("li", {}, `${visible(place.name)}, ${place.set}: `, h("span", { class: "steps" }, links, more));
  });
  const none = items.every((item) => item === null);
  return [h("h2", {}, "The same question elsewhere"), progress(found) ?? "", none ? h("p", {}, "It was asked nowhere else.") : h("ul", {}, items), none ? "" : h("p", { class: "quiet" }, "In brackets: the group's mean reward.")];
}
