// One completion: its turns as a conversation, what each search returned, why it ended, its tokens.

import { get, stepPath } from "./api.js";
import { address, h, long, number, visible } from "./dom.js";
import { elsewhere, overTheRun } from "./questions_screen.js";
import { tokensView } from "./tokens.js";

export async function episodeScreen(where) {
  const each = await get(`${stepPath(where)}/completion?key=${where.key}`);
  return h(
    "section",
    {},
    h("h1", {}, each.failure ? `Completion that failed: ${each.failure}` : `Completion: reward ${number(each.score)}`),
    h("p", {}, each.outcome ? `It ended as ${each.outcome}` : "How it ended was not recorded", each.answer === null || each.answer === undefined ? null : ` with the answer `, each.answer ? h("b", {}, visible(each.answer)) : null, ". Right: ", h("b", {}, visible(each.answers.join(" | ") || "unknown")), "."),
    h("p", {}, h("a", { href: address({ run: where.run, set: where.set, step: where.step, group: where.group ?? each.group }), "data-up": "" }, "its group"), " ", h("a", { href: address({ compare: "1", run: where.run, set: where.set, step: where.step, question: each.question }) }, "compare the question with another step"), " ", overTheRun(each.id, where)),
    partsTable(each),
    h("h2", {}, "Conversation"),
    h("div", { class: "turns" }, turn("question", each.question), each.turn_texts.map((part) => turn(part.role, part.text, part.seconds))),
    searches(each),
    h("h2", {}, "Tokens"),
    tokensView(each.tokens, where),
    elsewhere(each.id, { ...where, group: each.group }),
  );
}

function turn(role, text, seconds) {
  return h("div", { class: `turn ${role}`, "data-item": "", tabindex: "0" }, h("h3", {}, role === "environment" ? "environment (not trained on)" : role, seconds === undefined || seconds === null ? null : h("span", { class: "quiet" }, ` ${number(seconds)} s`)), long(text, "div"));
}

function partsTable(each) {
  const parts = Object.entries({ ...each.parts, ...(each.advantage === null ? {} : { advantage: each.advantage }) });
  if (parts.length === 0) return null;
  return h("div", { class: "wide-table" }, h("table", { class: "parts" }, h("thead", {}, h("tr", {}, parts.map(([name]) => h("th", { scope: "col" }, name)))), h("tbody", {}, h("tr", {}, parts.map(([, value]) => h("td", {}, number(value)))))));
}

function searches(each) {
  if (each.search_results.length === 0 && each.gold_documents.length === 0) return null;
  const rows = each.search_results.map((search) => h("li", {}, h("b", {}, visible(search.query)), search.documents.length === 0 ? " found nothing" : h("ol", {}, search.documents.map((found) => h("li", { class: found.gold ? "gold" : "" }, visible(found.id), found.gold ? " (gold)" : null)))));
  return h("div", {}, h("h2", {}, "Searches"), h("ol", { class: "searches" }, rows), each.missed.length > 0 ? h("p", { class: "warning" }, "Gold documents that no search returned: ", h("b", {}, each.missed.map(visible).join(", "))) : each.gold_documents.length > 0 ? h("p", {}, "Every gold document was returned.") : null);
}
