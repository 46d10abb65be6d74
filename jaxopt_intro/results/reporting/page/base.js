// Elements, numbers as text, and scales. Text only ever enters the page as text nodes, so nothing in it is markup.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: `on…` are listeners, other entries attributes; null and false leave an attribute out. */
function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null).map((child) => child.nodeType ? child : String(child)));
  return node;
}

/** Makes a card with a heading, and puts it at the end of the page. */
function card(id, title, help, ...children) {
  const heading = element("h2", { id: `${id}-title` }, title);
  const about = help ? element("p", { class: "help" }, help) : null;
  const node = element("section", { class: "card", id, "aria-labelledby": `${id}-title` }, heading, about, ...children);
  document.getElementById("main").append(node);
  return node;
}

/** Makes a labelled select; `options` are [value, text]. */
function select(id, label, options, chosen, changed) {
  const list = options.map(([value, text]) => element("option", { value, selected: value === chosen }, text));
  const input = element("select", { id, onchange: () => changed(input.value) }, ...list);
  return element("label", {}, `${label} `, input);
}

/** Writes a number as people do: 0.001, 3.7e-4, 128, 0.9722. */
function written(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  if (typeof value === "string") return value;
  if (Number.isInteger(value) && Math.abs(value) < 1e5) return String(value);
  const size = Math.abs(value);
  if (size >= 1e-2 && size < 1e5) return String(Number(value.toPrecision(digits)));
  return value.toExponential(digits - 1).replace(/\.?0*e\+?/, "e");
}

function many(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

function seconds(value) {
  if (value < 60) return `${written(value, 3)} s`;
  const minutes = Math.floor(Math.round(value) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(value) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const clamp = (value, low = 0, high = 1) => Math.min(Math.max(value, low), high);

function quantile(sorted, share) {
  if (!sorted.length) return NaN;
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  return sorted[below] + (place - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
}

/** The distinct numbers, ascending. */
function distinct(values) {
  return Float64Array.from(new Set(values.filter((value) => !Number.isNaN(value)))).sort();
}

/**
 * Makes an axis of a column: `position` takes a value to 0 … 1, `value` takes it back; NaN is no value.
 * Scales: linear, log, symlog (logarithmic above a zero of its own), choice (values are numbers of labels).
 */
function makeAxis({ name, scale, values, labels = null }) {
  const numbers = Float64Array.from(values, (value) => typeof value === "number" ? value : NaN);
  const known = distinct(numbers);
  const axis = { name, scale, labels, values: numbers, known, choice: scale === "choice" };
  if (axis.choice) {
    axis.position = (value) => (value + 0.5) / labels.length;
    axis.value = (place) => clamp(Math.round(place * labels.length - 0.5), 0, labels.length - 1);
    return axis;
  }
  const positive = known.filter((value) => value > 0);
  if (scale !== "linear" && !positive.length) axis.scale = scale = "linear";
  const zero = scale === "symlog" ? Math.log10(positive[0]) - Math.max(0.3, Math.log10(positive.at(-1) / positive[0]) / 8) : 0;
  const place = scale === "linear" ? (value) => value : (value) => value > 0 ? Math.log10(value) : zero;
  const back = scale === "linear" ? (value) => value
    : (value) => scale === "symlog" && value < (zero + Math.log10(positive[0])) / 2 ? 0 : 10 ** value;
  const low = known.length ? place(known[0]) : 0;
  const width = known.length ? place(known.at(-1)) - low : 1;
  axis.position = (value) => width > 0 ? (place(value) - low) / width : 0.5;
  axis.value = (share) => back(low + share * width);
  return axis;
}

function label(axis, value) {
  return Number.isNaN(value) ? "none" : axis.choice ? axis.labels[value] : written(value);
}

/** Values at which an axis has ticks: those that occur where they are few, else round ones. */
function ticks(axis, count = 6) {
  if (axis.choice) return axis.labels.map((_, number) => number);
  if (axis.known.length <= count) return [...axis.known];
  const [low, high] = [axis.known[0], axis.known.at(-1)];
  if (axis.scale !== "linear") {
    const from = Math.ceil(Math.log10(axis.known.find((value) => value > 0)) - 1e-9);
    const to = Math.floor(Math.log10(high) + 1e-9);
    const each = Math.max(1, Math.ceil((to - from + 1) / count));
    const found = axis.scale === "symlog" ? [0] : [];
    for (let power = from; power <= to; power += each) found.push(Number(`1e${power}`));
    if (found.length >= 2) return found;
    return [low, ...found.filter((value) => value > low * 1.3 && value < high / 1.3), high];
  }
  return roundTicks(low, high, count);
}

function roundTicks(low, high, count = 6) {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) * power;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) {
    found.push(Number((at * step).toPrecision(12)));
  }
  return found;
}

/** Float32 numbers from base64. */
function unpacked(text) {
  return new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}
