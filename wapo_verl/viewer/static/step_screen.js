// One step: a row a group, a cell a completion, coloured by its reward; sorted and filtered.

import { get, stepPath } from "./api.js";
import { address, brief, change, count, h, number, select, visible } from "./dom.js";

const FILTERS = {
  all: ["all groups", () => true],
  wrong: ["all wrong", (group) => spread(group) === 0 && low(group) <= 0],
  one: ["one winner", (group) => winners(group).length === 1],
  mixed: ["winners and losers", (group) => spread(group) > 0],
  right: ["all right", (group) => spread(group) === 0 && low(group) > 0],
};
const SORTS = {
  file: ["as written", () => 0],
  mean: ["mean reward", (a, b) => mean(a) - mean(b)],
  spread: ["spread of rewards", (a, b) => spread(b) - spread(a)],
  missed: ["documents missed", (a, b) => missed(b) - missed(a)],
};

const scores = (group) => group.completions.map((each) => each.score).filter((score) => score !== null); // failed ones have none
const low = (group) => Math.min(...scores(group), Infinity);
const average = (values) => values.reduce((sum, each) => sum + each, 0) / (values.length || 1);
const mean = (group) => average(scores(group));
const spread = (group) => Math.max(...scores(group)) - low(group);
const missed = (group) => group.completions.reduce((sum, each) => sum + each.missed.length, 0);
export const winners = (group) => group.completions.filter((each) => each.score !== null && each.score > mean(group) + 1e-9);

export async function stepScreen(where) {
  const { groups, cut, left_out: leftOut } = await get(`${stepPath(where)}/groups`);
  const marked = where.alarm === undefined ? [] : await get(`${stepPath(where)}/worst?rule=${where.alarm}`);
  const kept = chosen(groups, where);
  return h(
    "section",
    {},
    h("h1", {}, `${where.set}, step ${where.step}`),
    await neighbours(where),
    h("p", {}, summary(groups)),
    cut ? h("p", { class: "warning" }, "The last line of this file is cut off: it is being written, or its writer was killed.") : null,
    leftOut ? h("p", { class: "warning" }, `${leftOut} more groups did not fit into this exported page.`) : null,
    marked.length > 0 ? h("p", { class: "warning" }, `Alarm ${where.alarm}: the episodes with the worst values are framed, and their groups come first.`) : null,
    controls(groups, where),
    missedTable(groups, where),
    h("p", { class: "quiet" }, `${count(kept.length, "group")} shown. A cell is a completion: green is the highest reward of the step, red the lowest.`),
    kept.length === 0 && groups.length > 0 ? h("p", {}, "No group passes what was chosen above. ", h("a", { href: address({ run: where.run, set: where.set, step: where.step }), "data-item": "" }, "Show all groups")) : null,
    h("div", { class: "groups" }, order(kept, marked).map((group) => groupRow(group, groups, where, marked))),
  );
}

// A group of one has nobody to beat, as in a validation with one answer a question.
function summary(groups) {
  const all = groups.reduce((sum, group) => sum + group.completions.length, 0);
  const text = `${count(groups.length, "group")}, ${count(all, "completion")}; mean reward ${number(average(groups.filter((group) => scores(group).length).map(mean)))}`;
  const several = groups.filter((group) => scores(group).length > 1);
  if (several.length === 0) return `${text}.`;
  const [wrong, right] = ["wrong", "right"].map((name) => several.filter(FILTERS[name][1]).length);
  return `${text}; without a winner: ${wrong} all wrong, ${right} all right.`;
}

async function neighbours(where) {
  const runs = await get("/api/runs");
  const steps = runs[Number(where.run)]?.sets.find((set) => set.name === where.set)?.steps ?? [];
  const at = steps.findIndex((step) => String(step) === where.step);
  const link = (step, text) => (step === undefined ? null : h("a", { href: address({ run: where.run, set: where.set, step, show: where.show, sort: where.sort, q: where.q }) }, text));
  return at < 0 ? null : h("p", {}, link(steps[at - 1], "previous step"), " ", link(steps[at + 1], "next step"));
}

function chosen(groups, where) {
  const needle = (where.q ?? "").toLowerCase();
  const matches = (group) =>
    FILTERS[where.show ?? "all"][1](group) &&
    (!where.outcome || group.completions.some((each) => each.outcome === where.outcome)) &&
    (!needle || [group.question, ...group.answers, ...group.completions.flatMap((each) => [each.answer ?? "", ...each.documents, ...each.missed])].some((text) => String(text).toLowerCase().includes(needle)));
  return groups.filter(matches).sort(SORTS[where.sort ?? "file"][1]);
}

function order(groups, marked) {
  if (marked.length === 0) return groups;
  const has = (group) => group.completions.some((each) => marked.includes(each.key));
  return [...groups.filter(has), ...groups.filter((group) => !has(group))];
}

function controls(groups, where) {
  const outcomes = [...new Set(groups.flatMap((group) => group.completions.map((each) => each.outcome)).filter(Boolean))].sort();
  const named = (table) => Object.fromEntries(Object.entries(table).map(([key, [text]]) => [key, text]));
  const search = h("input", { type: "search", "data-search": "", value: where.q ?? "", placeholder: "question, answer or document", "aria-label": "Search in this step", onchange: (event) => change({ q: event.target.value }) });
  return h("div", { class: "controls" }, select("show", "show", named(FILTERS), where), select("sort", "sort by", named(SORTS), where), select("outcome", "outcome", { "": "any", ...Object.fromEntries(outcomes.map((each) => [each, each])) }, where), search, h("a", { href: address({ compare: "1", run: where.run, set: where.set, step: where.step }) }, "compare with another step"));
}

// Which gold documents the policy's searches missed most often in this step.
function missedTable(groups, where) {
  const counts = new Map();
  for (const group of groups) for (const each of group.completions) for (const name of each.missed) counts.set(name, (counts.get(name) ?? 0) + 1);
  if (counts.size === 0) return null;
  const worst = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 10);
  return h("details", {}, h("summary", {}, `Gold documents that were missed: ${counts.size}`), h("ol", {}, worst.map(([name, times]) => h("li", {}, h("a", { href: address({ run: where.run, set: where.set, step: where.step, q: name }) }, visible(name)), ` missed ${count(times, "time")}`))));
}

function shade(score, groups) {
  const all = groups.flatMap(scores);
  const [lowest, highest] = [Math.min(...all), Math.max(...all)];
  const part = highest === lowest ? (highest > 0 ? 1 : 0) : ((score ?? lowest) - lowest) / (highest - lowest);
  return `hsl(${Math.round(part * 130)} 60% ${document.documentElement.dataset.dark ? 32 : 72}%)`;
}

const reward = (each) => (each.failure ? `failed (${each.failure})` : `reward ${number(each.score)}`);

function groupRow(group, groups, where, marked) {
  const cells = group.completions.map((each) => h("a", { class: `cell${marked.includes(each.key) ? " marked" : ""}`, color: shade(each.score, groups), href: address({ run: where.run, set: where.set, step: where.step, group: group.group, key: each.key }), "aria-label": `${reward(each)}, ${each.outcome ?? "no outcome"}`, title: `${reward(each)}; ${each.outcome ?? ""}; ${each.answer ?? ""}` }, number(each.score, 2)));
  return h("div", { class: "group" }, h("a", { class: "question", href: address({ run: where.run, set: where.set, step: where.step, group: group.group }), "data-item": "" }, brief(group.question).slice(0, 160)), h("div", { class: "cells" }, cells));
}
