// The same question at two steps, or under two runs.

import { get, stepPath } from "./api.js";
import { address, brief, change, h, long, number } from "./dom.js";

export async function compareScreen(where) {
  const runs = await get("/api/runs");
  const left = { run: where.run ?? "0", set: where.set, step: where.step };
  const right = { run: where.run2 ?? left.run, set: where.set2 ?? left.set, step: where.step2 ?? String(runs[Number(left.run)].sets.find((set) => set.name === left.set)?.steps.at(-1)) };
  const groups = await Promise.all([left, right].map((side) => get(`${stepPath(side)}/groups`).then((found) => found.groups)));
  const there = new Set(groups[1].map((group) => group.id));
  const shared = [...new Map(groups[0].filter((group) => there.has(group.id)).map((group) => [group.id, group.question])).values()];
  const question = where.question ?? shared[0];
  const choice = question === undefined || shared.includes(question) ? shared : [question, ...shared];
  return h(
    "section",
    {},
    h("h1", {}, "Compare"),
    h("div", { class: "controls" }, placeChooser(runs, left, ""), placeChooser(runs, right, "2")),
    h("p", {}, h("label", {}, `Question (${shared.length} on both sides): `, h("select", { class: "wide", onchange: (event) => change({ question: event.target.value }) }, choice.map((each) => h("option", { value: each, selected: each === question }, brief(each).slice(0, 120)))))),
    question === undefined ? h("p", { class: "warning" }, "No question is in both steps. Held-out questions are the same at every validation.") : await sides(left, right, question),
  );
}

function placeChooser(runs, place, mark) {
  const options = runs.flatMap((run, number_) => run.sets.flatMap((set) => set.steps.map((step) => [JSON.stringify([String(number_), set.name, String(step)]), `${run.name} ${set.name} ${step}`])));
  const now = JSON.stringify([place.run, place.set, place.step]);
  return h("label", {}, mark ? "with " : "compare ", h("select", { onchange: (event) => {
    const [run, set, step] = JSON.parse(event.target.value);
    change({ [`run${mark}`]: run, [`set${mark}`]: set, [`step${mark}`]: step });
  } }, options.map(([value, text]) => h("option", { value, selected: value === now }, text))));
}

async function sides(left, right, question) {
  const found = await Promise.all([left, right].map((side) => get(`${stepPath(side)}/question?question=${question}`)));
  return h("div", {}, long(question), h("div", { class: "two" }, found.map((members, at) => {
    const side = at === 0 ? left : right;
    if (members.length === 0) return h("div", {}, h("h2", {}, `${side.set} step ${side.step}: this question was not asked`));
    const scored = members.filter((each) => each.score !== null);
    const mean = scored.reduce((sum, each) => sum + each.score, 0) / (scored.length || 1);
    return h("div", {}, h("h2", {}, `${side.set} step ${side.step}: mean reward ${number(mean)}`), members.map((each) => h("article", { class: "card" }, h("h3", {}, h("a", { href: address({ ...side, group: each.group, key: each.key }), "data-item": "" }, `${number(each.score)} ${each.outcome ?? ""}`)), each.turn_texts.map((part) => long(part.text, "div")))));
  })));
}
