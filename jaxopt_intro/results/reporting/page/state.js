// What the page knows and what its reader chose: filters, the trial under the pointer, the pinned trials.

const data = JSON.parse(document.getElementById("data").textContent);
const trials = data.trials;
const total = trials.id.length;
const better = data.direction === "min" ? -1 : 1;
const FAILED = data.statuses.indexOf("failed");

const byRank = Int32Array.from(trials.rank.keys()).sort((a, b) => trials.rank[a] - trials.rank[b]);
const scores = Float64Array.from(trials.score, (value) => value ?? NaN);
const scoreAxis = makeAxis({ name: data.objective, scale: scoreScale(), values: trials.score });
const settingAxes = data.settings.filter((setting) => setting.varies).map(makeAxis);
const statusAxis = makeAxis({ name: "status", scale: "choice", values: trials.status, labels: data.statuses });
const axes = new Map([...settingAxes, scoreAxis, statusAxis].map((axis) => [axis.name, axis]));

const state = {
  filters: new Map(), // name of an axis -> {low, high} of numbers, or {labels: set of their numbers}
  kept: byRank, // the trials that pass all filters, best first
  passes: new Uint8Array(total).fill(1),
  hovered: -1,
  pinned: new Set(),
  chosen: {}, // what the selects of the views say, by id
};

const listeners = { filter: [], mark: [] };

/** Calls `listener` after the filters changed ("filter") or the hovered or pinned trials did ("mark"). */
function listen(kind, listener) {
  listeners[kind].push(listener);
}

function tell(kind) {
  for (const listener of listeners[kind]) listener();
}

/** Sets one filter, or with null takes it away, and tells all views once the screen is next drawn. */
let asked = 0;
function setFilter(name, filter) {
  if (filter === null) state.filters.delete(name);
  else state.filters.set(name, filter);
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(applyFilters);
}

function clearFilters() {
  state.filters.clear();
  applyFilters();
}

function applyFilters() {
  state.passes.fill(1);
  for (const [name, filter] of state.filters) {
    const { values } = axes.get(name);
    for (let trial = 0; trial < total; trial++) {
      const value = values[trial];
      const fits = filter.labels ? filter.labels.has(value) : value >= filter.low && value <= filter.high;
      if (!fits) state.passes[trial] = 0;
    }
  }
  state.kept = byRank.filter((trial) => state.passes[trial]);
  tell("filter");
}

function hover(trial) {
  if (trial === state.hovered) return;
  state.hovered = trial;
  tell("mark");
}

function pin(trial) {
  if (!state.pinned.delete(trial)) state.pinned.add(trial);
  tell("mark");
}

/** The trials to draw on top of the others. */
function marked() {
  return [...new Set([...state.pinned, ...(state.hovered >= 0 ? [state.hovered] : [])])];
}

/** A trial in words: its rank and the settings that vary. */
function described(trial, limit = 6) {
  const parts = [];
  for (const axis of settingAxes.slice(0, limit)) {
    const value = axis.values[trial];
    if (!Number.isNaN(value)) parts.push(axis.choice ? axis.labels[value] : `${axis.name} ${written(value, 3)}`);
  }
  return `${trials.rank[trial]}: ${parts.join(", ") || trials.id[trial]}`;
}

/** A trial's score with its standard error, to two digits of that. */
function scoreText(trial) {
  const [score, error] = [trials.score[trial], trials.error[trial]];
  if (score === null) return data.statuses[trials.status[trial]];
  if (error === null) return written(score);
  const decimals = 1 - Math.floor(Math.log10(error));
  if (!(decimals >= 0 && decimals <= 6)) return `${written(score)} ± ${written(error, 2)}`;
  return `${score.toFixed(decimals)} ± ${error.toFixed(decimals)}`;
}

/** An experiment file that trains one trial again. */
function toml(trial) {
  const lines = [`# trial ${trials.id[trial]}`];
  if (data.toml_head) lines.push(data.toml_head);
  for (const [table, choice] of [["numbers", false], ["choices", true]]) {
    const own = data.settings.filter((setting) => setting.choice === choice && setting.values[trial] !== null);
    if (own.length) lines.push(`[${table}]`);
    for (const setting of own) {
      const value = setting.values[trial];
      lines.push(`${setting.key} = ${choice ? `[${setting.toml[value]}]` : value}`);
    }
    if (own.length) lines.push("");
  }
  return lines.join("\n");
}

function say(text) {
  document.getElementById("said").textContent = text;
}

function scoreScale() {
  const known = distinct(Array.from(trials.score, (value) => value ?? NaN));
  return known.length && known[0] > 0 && known.at(-1) > 50 * known[0] ? "log" : "linear";
}

// -- colours ----------------------------------------------------------------------------------------------------

// Viridis (van der Walt and Smith 2015): even in lightness, and for the colour-blind. The best are what stands out.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"]
  .map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
// Okabe and Ito (2008), without the yellow that vanishes on white and the black that does on black; lighter on black.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const LIGHTER = ["#4aa3e8", "#f07a3a", "#2fc796", "#e59acb", "#f2b53a", "#a5dbfa"];
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Where the colours begin: most sweeps have a tail of bad trials, which would make all good ones look alike. */
const places = Float64Array.from(scores, (value) => better * scoreAxis.position(value));
const sorted = places.filter((value) => !Number.isNaN(value)).sort();
const ends = [sorted.length > 20 ? quantile(sorted, 0.25) : sorted[0] ?? 0, sorted.at(-1) ?? 1];

/** How good a score is, from 0 to 1, as colours show it. */
function goodness(score) {
  const place = better * scoreAxis.position(score);
  return ends[1] > ends[0] ? clamp((place - ends[0]) / (ends[1] - ends[0])) : 1;
}

function shade(share) {
  return `rgb(${mixed(share).join(",")})`;
}

/** Black or white, whichever can be read on a shade. */
function inkOn(share) {
  const [red, green, blue] = mixed(share);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 128 ? "#000" : "#fff";
}

function mixed(share) {
  const at = (isDark() ? 0.1 + 0.9 * share : 0.9 * (1 - share)) * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[below].map((value, i) => Math.round(value + (at - below) * (VIRIDIS[below + 1][i] - value)));
}

function colourOf(trial) {
  return Number.isNaN(scores[trial]) ? look("--faint") : shade(goodness(scores[trial]));
}

/** The colour and the dashes of the series of that number. */
function colourOfSeries(number) {
  return (isDark() ? LIGHTER : COLOURS)[number % COLOURS.length];
}

function dashesOf(number) {
  return DASHES[number % DASHES.length];
}

/** A piece of a series' line, for a legend. */
function sample(number) {
  const look = { x1: 0, x2: 28, y1: 4, y2: 4, stroke: colourOfSeries(number), "stroke-width": 3, "stroke-dasharray": dashesOf(number).join(" ") };
  return svg("svg", { class: "sample", viewBox: "0 0 28 8", "aria-hidden": "true" }, svg("line", look));
}

/** A colour of the style sheet. */
function look(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A legend of the score's colours. */
function colourLegend() {
  const bar = element("span", { class: "ramp", "aria-hidden": "true" });
  for (let step = 0; step < 24; step++) bar.append(element("i"));
  const paint = () => [...bar.children].forEach((piece, step) => { piece.style.background = shade(step / 23); });
  listen("filter", paint);
  paint();
  const worst = scoreAxis.value(better * ends[0]);
  const bound = sorted.length > 20 ? (better > 0 ? "≤ " : "≥ ") : "";
  return element("p", { class: "legend" }, `${data.objective} `, `${bound}${written(worst, 3)} `, bar,
    ` ${written(scoreAxis.value(better * ends[1]), 3)}`);
}
