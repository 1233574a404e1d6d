// One group: its completions side by side, winners first, each text marked from where it parts from the best one.

import { get, has, stepPath } from "./api.js";
import { address, h, long, number, visible } from "./dom.js";
import { elsewhere, overTheRun } from "./questions_screen.js";

export async function groupScreen(where) {
  const members = (await get(`${stepPath(where)}/group?group=${where.group}`)).slice().sort((a, b) => (b.score ?? -1e9) - (a.score ?? -1e9));
  const scored = members.filter((each) => each.score !== null); // a failed episode is no member
  const mean = scored.reduce((sum, each) => sum + each.score, 0) / (scored.length || 1);
  const best = members[0];
  const loser = scored.find((each) => each.score < (best.score ?? 0));
  return h(
    "section",
    {},
    h("h1", {}, "Group"),
    long(best.question),
    h("p", {}, overTheRun(best.id, where)),
    h("p", {}, "Right answers: ", h("b", {}, visible(best.answers.join(" | ") || "unknown")), `. Mean reward ${number(mean)}; ${scored.filter((each) => each.score > mean + 1e-9).length} of ${scored.length} win${scored.length < members.length ? `, ${members.length - scored.length} failed` : ""}.`),
    loser === undefined ? h("p", {}, "All rewards are equal: this group gives no advantage.") : await partingText(best, loser, where),
    h("div", { class: "side" }, members.map((each) => card(each, best, mean, where))),
    elsewhere(best.id, where),
  );
}

export function whole(each) {
  return each.turn_texts.map((turn) => turn.text).join("");
}

function parting(one, other) {
  const [a, b] = [whole(one), whole(other)];
  let place = 0;
  while (place < a.length && place < b.length && a[place] === b[place]) place += 1;
  return place;
}

async function partingText(best, loser, where) {
  const paths = [best, loser].map((each) => `${stepPath(where)}/completion?key=${each.key}`);
  const tokens = paths.every(has) ? (await Promise.all(paths.map((path) => get(path)))).map((each) => each.tokens) : [];
  if (tokens.length === 2 && tokens.every((each) => each?.ids)) return partingToken(best, loser, tokens, where);
  const place = parting(best, loser);
  const around = (each) => visible(whole(each).slice(place, place + 60)) || "(ends here)";
  return h("p", { class: "parting" }, `The best and the first loser part after ${place} characters. Winner: `, h("ins", {}, around(best)), " Loser: ", h("del", {}, around(loser)));
}

// Where records have tokens: the first that differs, as a link to it in either completion.
function partingToken(best, loser, tokens, where) {
  const [a, b] = tokens.map((each) => each.ids);
  let place = 0;
  while (place < a.length && place < b.length && a[place] === b[place]) place += 1;
  const around = (each) => visible(each.text.slice(place, place + 8).join("")) || "(ends here)";
  const link = (each, at, name) => h(name, {}, h("a", { href: address({ ...where, key: each.key, token: place }) }, around(tokens[at])));
  return h("p", { class: "parting" }, `The best and the first loser part at token ${place}, counted from 0. Winner: `, link(best, 0, "ins"), " Loser: ", link(loser, 1, "del"));
}

function role(each, wins, best) {
  if (wins) return "winner";
  return each.score < (best.score ?? 0) ? "loser" : "no winner in this group";
}

function card(each, best, mean, where) {
  const wins = each.score !== null && each.score > mean + 1e-9;
  const place = each === best ? whole(each).length : parting(each, best);
  const text = whole(each);
  const body = h("div", { class: "text" }, h("span", { class: "same" }, visible(text.slice(0, Math.min(place, 4000)))), h("span", { class: each === best ? "" : "apart" }, visible(text.slice(place, place + 4000))));
  const searches = each.search_results.map((search) => h("li", {}, visible(search.query), h("ol", {}, search.documents.slice(0, 5).map((found) => h("li", { class: found.gold ? "gold" : "" }, visible(found.id), found.gold ? " (gold)" : null)))));
  return h(
    "article",
    { class: wins ? "card win" : "card" },
    h("h2", {}, h("a", { href: address({ ...where, key: each.key }), "data-item": "" }, each.failure ? `failed: ${each.failure}` : `${role(each, wins, best)}: reward ${number(each.score)}`)),
    h("p", {}, `${each.outcome ?? ""} `, h("b", {}, visible(each.answer ?? ""))),
    h("p", { class: "quiet" }, Object.entries(each.parts).map(([name, value]) => `${name} ${number(value)}`).join(", ")),
    searches.length > 0 ? h("ol", { class: "searches" }, searches) : null,
    each.missed.length > 0 ? h("p", { class: "warning" }, `missed: ${each.missed.map(visible).join(", ")}`) : null,
    body,
  );
}
