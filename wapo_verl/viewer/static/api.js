// Answers of the server, or of the data that an exported page carries.

const carried = document.getElementById("data");
const DATA = carried === null ? null : JSON.parse(carried.textContent);
const kept = new Map();

export const isExport = DATA !== null;

// Whether `get` can answer; an exported page carries a part of the run.
export function has(path) {
  return !isExport || path in DATA;
}

export async function get(path, fresh = false, values = {}) {
  if (isExport) {
    if (path in DATA) return DATA[path];
    throw new Error("this page was exported without it");
  }
  if (!fresh && kept.has(path)) return kept.get(path);
  const [place, query] = path.split(/\?(.*)/s);
  const [key, value] = query === undefined ? [] : query.split(/=(.*)/s);
  const asked = [...(query === undefined ? [] : [[key, value]]), ...Object.entries(values)];
  const search = asked.length === 0 ? "" : `?${new URLSearchParams(asked)}`;
  const answer = await fetch(encodeURI(place) + search);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error ?? `the server answered ${answer.status}`);
  if (kept.size > 200) kept.clear();
  kept.set(path, content);
  return content;
}

export function stepPath(where) {
  return `/api/runs/${where.run}/sets/${where.set}/steps/${where.step}`;
}
