// The tokens of a completion, coloured by a chosen number; what the environment wrote is grey and not trained on.

import { change, h, number, visible } from "./dom.js";

const MOST_TOKENS = 6000; // tokens that are drawn; more would make the page slow

const QUANTITIES = {
  probability: ["probability (rollout)", (tokens, at) => exp(tokens.rollout_log_prob?.[at])],
  actor: ["probability (actor)", (tokens, at) => exp(tokens.actor_log_prob?.[at])],
  ratio: ["ratio (actor / rollout)", (tokens, at) => exp(minus(tokens.actor_log_prob?.[at], tokens.rollout_log_prob?.[at]))],
  advantage: ["advantage", (tokens, at) => tokens.advantage?.[at]],
  entropy: ["entropy", (tokens, at) => tokens.entropy?.[at]],
  bin: ["taxonomy bin", (tokens, at) => tokens.bin?.[at]],
  mask: ["mask", (tokens, at) => tokens.mask?.[at]],
};

const exp = (value) => (value === undefined || value === null ? null : Math.exp(value));
const minus = (a, b) => (a === undefined || b === undefined || a === null || b === null ? null : a - b);

export function tokensView(tokens, where) {
  if (!tokens?.text) return h("p", { class: "quiet" }, "No tokens were recorded: set +wapo.record.tokens=true.");
  const there = Object.entries(QUANTITIES).filter(([, [, read]]) => tokens.text.some((_, at) => read(tokens, at) !== null && read(tokens, at) !== undefined));
  const name = there.some(([key]) => key === where.color) ? where.color : there[0]?.[0];
  const read = QUANTITIES[name][1];
  const options = there.map(([key, [text]]) => h("option", { value: key, selected: key === name }, text));
  const values = tokens.text.map((_, at) => read(tokens, at));
  const numbers = values.filter((value) => typeof value === "number" && Number.isFinite(value));
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const tip = h("p", { id: "token-numbers", class: "tip", "aria-live": "polite" }, "Hover over a token, or move to it with the left and right arrow keys, to see its numbers.");
  const shown = tokens.text.slice(0, MOST_TOKENS).map((text, at) => token(tokens, text, at, values[at], low, high, name, tip, where.token));
  return h("div", {}, h("p", {}, h("label", {}, "Colour by ", h("select", { onchange: (event) => change({ color: event.target.value }) }, options)), scale(values, low, high), h("span", { class: "scale" }, "; struck grey: written by the environment, not trained on")), tip, h("div", { class: "tokens", tabindex: "0", role: "group", "aria-label": "Tokens" }, shown), tokens.text.length > MOST_TOKENS ? h("p", {}, `${tokens.text.length - MOST_TOKENS} more tokens are not drawn.`) : null);
}

// What the colours mean: names that have a colour each, or a range of numbers.
function scale(values, low, high) {
  const names = [...new Set(values.filter((value) => typeof value === "string"))].sort();
  if (names.length === 0) return h("span", { class: "scale" }, ` from ${number(low)} (pale) to ${number(high)} (strong)`);
  return h("span", { class: "scale" }, names.map((name) => [" ", h("span", { class: kindOf(name).trim() }, visible(name))]).flat());
}

const kindOf = (value) => (typeof value === "string" ? ` bin-${value.replace(/[^a-z_]/g, "")}` : "");

function token(tokens, text, at, value, low, high, name, tip, chosen) {
  const own = tokens.mask?.[at] !== 0;
  const part = typeof value === "number" && high > low ? (value - low) / (high - low) : 0.5;
  const color = !own || value === null || value === undefined ? null : typeof value === "string" ? null : `hsl(${name === "advantage" && value < 0 ? 10 : 210} 80% 50% / ${(0.08 + 0.6 * part).toFixed(2)})`;
  const kind = kindOf(value);
  const element = h("span", { class: `token${own ? "" : " theirs"}${kind}${String(at) === chosen ? " here" : ""}`, color, "data-at": at }, visible(text).replace(/\n/g, "\u23ce\n"));
  const say = () => {
    tip.textContent = `token ${at} (id ${tokens.ids?.[at] ?? "?"}): ${own ? "trained on" : "not trained on"}; ${Object.values(QUANTITIES).map(([label, read]) => [label, read(tokens, at)]).filter(([, found]) => found !== null && found !== undefined).map(([label, found]) => `${label} ${typeof found === "number" ? number(found, 4) : found}`).join(", ")}`;
  };
  element.addEventListener("mouseenter", say);
  element.addEventListener("said", say);
  if (String(at) === chosen) say();
  return element;
}

// Left and right move from token to token.
export function moveToken(by) {
  const all = [...document.querySelectorAll(".token")];
  if (all.length === 0) return false;
  const now = all.findIndex((each) => each.classList.contains("here"));
  all[now]?.classList.remove("here");
  const next = all[Math.min(Math.max(now + by, 0), all.length - 1)];
  next.classList.add("here");
  next.scrollIntoView({ block: "nearest" });
  next.dispatchEvent(new CustomEvent("said"));
  return true;
}
