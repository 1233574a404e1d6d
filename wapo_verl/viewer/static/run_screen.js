// The runs, and one run: its curves, its alarms, its steps. A second run can be drawn over the first.

import { get, isExport } from "./api.js";
import { chart } from "./charts.js";
import { address, change, count, h, number } from "./dom.js";

const CURVES = [
  ["reward", /^critic\/score\/mean$/],
  ["held-out", /^val-core\/.*mean@/],
  ["held-out, other parts", /^val-aux\/.*(exact_match|correct|f1)\/mean@/],
  ["entropy", /^actor\/entropy$/],
  ["winner fraction", /^group\/winner_fraction$/],
  ["groups with a winner", /^group\/with_winner$/],
  ["response length", /^response_length\/mean$/],
  ["searches an episode", /^episode\/searches\/mean$/],
  ["answered", /^episode\/answer_rate$/],
  ["gradient norm", /^actor\/grad_norm$/],
  ["rollout gap", /^training\/rollout_probs_diff_mean$/],
  ["seconds a step", /^timing_s\/step$/],
];

export async function runsScreen() {
  const runs = await get("/api/runs", true);
  if (runs.length === 1) return runScreen({ run: "0" });
  const rows = runs.map((run, place) =>
    h("tr", {}, h("td", {}, h("a", { href: address({ run: place }), "data-item": "" }, run.name)), h("td", {}, run.steps), h("td", {}, run.sets.map((set) => `${set.name} (${set.steps.length})`).join(", ")), h("td", {}, run.alarms.length)),
  );
  return h("section", {}, h("h1", {}, "Runs"), h("table", {}, h("thead", {}, h("tr", {}, ["run", "steps", "records", "alarms"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows)));
}

export async function runScreen(where) {
  const runs = await get("/api/runs", true);
  const run = runs[Number(where.run)];
  if (run === undefined) throw new Error(`there is no run ${where.run}`);
  const over = where.over === undefined ? null : Number(where.over);
  const shown = over === null ? [Number(where.run)] : [Number(where.run), over];
  const metrics = await Promise.all(shown.map((place) => get(`/api/runs/${place}/metrics`, true)));
  return h(
    "section",
    {},
    h("h1", {}, run.name),
    h("p", { class: "quiet" }, run.folder),
    overChooser(runs, where),
    alarmList(run, where),
    run.sets.map((set) => stepList(set, where)),
    charts(metrics, shown.map((place) => runs[place].name), run, where),
    run.sets.length === 0 ? h("p", {}, "No records of episodes: set trainer.rollout_data_dir and trainer.validation_data_dir.") : null,
  );
}

function overChooser(runs, where) {
  if (runs.length < 2) return null;
  const options = runs.map((run, place) => h("option", { value: place, selected: String(place) === where.over }, run.name));
  return h("p", {}, h("label", {}, "Draw another run over it: ", h("select", { onchange: (event) => change({ over: event.target.value }) }, h("option", { value: "" }, "none"), options)));
}

function charts(metrics, names, run, where) {
  const all = Object.keys(metrics[0].values);
  const wanted = CURVES.flatMap(([title, pattern]) => all.filter((name) => pattern.test(name)).map((name) => [title, name]));
  const custom = where.metrics ? where.metrics.split(",").map((name) => [name, name]) : [];
  const pick = (step) => openStep(run, where, step);
  const drawn = [...wanted, ...custom].map(([title, name]) =>
    chart(title === name ? name : `${title} (${name})`, metrics.map((each, place) => ({ name: names[place], steps: each.steps, values: each.values[name] ?? [] })), run.alarms, pick),
  );
  const legend = names.length > 1 ? h("p", {}, names.map((name, place) => h("span", { class: `legend run-${place % 4}` }, name))) : null;
  const more = h("label", {}, "Another metric: ", h("input", { list: "metric-names", "data-search": "", onchange: (event) => change({ metrics: event.target.value }) }), h("datalist", { id: "metric-names" }, all.map((name) => h("option", { value: name }))));
  const hint = drawn.some((each) => each !== null) && run.sets.length > 0 ? h("p", { class: "quiet" }, "A click on a curve opens the nearest step with records.") : null;
  return h("div", {}, legend, hint, h("div", { class: "charts" }, drawn), all.length > 0 ? h("p", {}, more) : null);
}

function openStep(run, where, step) {
  const nearest = run.sets.map((set) => [set, set.steps.reduce((best, each) => (best === null || Math.abs(each - step) < Math.abs(best - step) ? each : best), null)]);
  const best = nearest.filter(([, found]) => found !== null).sort((a, b) => Math.abs(a[1] - step) - Math.abs(b[1] - step))[0];
  if (best !== undefined) location.hash = address({ run: where.run, set: best[0].name, step: best[1] });
}

function alarmList(run, where) {
  if (run.alarms.length === 0) return null;
  const set = run.sets.find((each) => each.name.includes("rollout")) ?? run.sets[0];
  const items = run.alarms.map((alarm) => {
    const text = `${alarm.rule}: steps ${alarm.step} to ${alarm.until}`;
    if (set === undefined || !set.steps.includes(alarm.step)) return h("li", {}, text);
    return h("li", {}, h("a", { href: address({ run: where.run, set: set.name, step: alarm.step, alarm: alarm.rule }), "data-item": "" }, text));
  });
  return h("div", { class: "alarms" }, h("h2", {}, "Alarms of the guard"), h("ul", {}, items));
}

function stepList(set, where) {
  const links = set.steps.map((step) => h("a", { href: address({ run: where.run, set: set.name, step }), "data-item": "" }, number(step)));
  const over = (table, text) => h("a", { href: address({ run: where.run, set: set.name, table }) }, text);
  const tables = isExport ? null : h("p", {}, "Over all steps: ", over("questions", `questions of ${set.name}`), ", ", over("documents", `documents missed in ${set.name}`));
  return h("div", {}, h("h2", {}, `${set.name}: ${count(set.steps.length, "step")}`), tables, h("div", { class: "steps" }, links));
}

// Ask again while a run goes on; an exported page has nothing to ask.
export function isLive(where) {
  return !isExport && where.step === undefined && where.compare === undefined;
}
