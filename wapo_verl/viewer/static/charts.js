// Line charts as SVG: a line a run, the guard's alarms as vertical lines.

import { h, number } from "./dom.js";

const WIDTH = 320;
const HEIGHT = 130;
const EDGE = { left: 44, right: 8, top: 8, bottom: 20 };

function s(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

function label(x, y, text, anchor) {
  return s("text", { x, y, "text-anchor": anchor, class: "axis" }, text);
}

// series: [{name, steps, values}]; alarms: [{rule, step}]; onpick(step) is called with the step that was clicked.
export function chart(title, series, alarms, onpick) {
  const points = series.flatMap((each) => each.values.map((value, place) => [each.steps[place], value])).filter(([, value]) => value !== null);
  if (points.length === 0) return null;
  const steps = points.map(([step]) => step);
  const values = points.map(([, value]) => value);
  const [first, last, low, high] = [Math.min(...steps), Math.max(...steps), Math.min(...values), Math.max(...values)];
  const x = (step) => EDGE.left + ((step - first) / (last - first || 1)) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - ((value - low) / (high - low || 1)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: from ${number(values[0])} at step ${steps[0]} to ${number(values.at(-1))} at step ${steps.at(-1)}` });
  for (const alarm of alarms) svg.append(s("line", { x1: x(alarm.step), x2: x(alarm.step), y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: "alarm" }));
  series.forEach((each, place) => {
    const drawn = each.values.map((value, at) => (value === null ? null : `${x(each.steps[at]).toFixed(1)},${y(value).toFixed(1)}`)).filter((point) => point !== null);
    if (drawn.length === 1) svg.append(s("circle", { cx: drawn[0].split(",")[0], cy: drawn[0].split(",")[1], r: 3, class: `dot run-${place % 4}` }));
    else svg.append(s("polyline", { points: drawn.join(" "), class: `line run-${place % 4}` }));
  });
  svg.append(label(EDGE.left - 4, EDGE.top + 8, number(high), "end"), label(EDGE.left - 4, HEIGHT - EDGE.bottom, number(low), "end"));
  svg.append(label(EDGE.left, HEIGHT - 6, String(first), "start"), label(WIDTH - EDGE.right, HEIGHT - 6, String(last), "end"));
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    onpick(steps.reduce((best, step) => (Math.abs(x(step) - at) < Math.abs(x(best) - at) ? step : best), steps[0]));
  });
  return h("figure", { class: "chart" }, h("figcaption", {}, title, h("b", {}, ` ${number(values.at(-1))}`)), svg);
}
