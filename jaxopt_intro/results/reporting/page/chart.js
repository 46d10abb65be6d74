// A picture: marks on a canvas, what is marked on a second one above it, and axes as SVG, redrawn at each new size.

/**
 * Makes a chart. `draw(pen, frame)` draws the marks, `over(pen, frame)` what is marked, `frame` having the edges in
 * pixels, and `decorate(frame)` returns the axes as SVG, for example by `drawAxes`.
 */
function makeChart({ id, label: text, height = 300, margin = {}, draw, over, decorate }) {
  const [base, top] = [element("canvas"), element("canvas", { "aria-hidden": "true" })];
  base.setAttribute("role", "img");
  const overlay = svg("svg", { "aria-hidden": "true" });
  const tip = element("div", { class: "tip", hidden: true });
  const node = element("div", { class: "plot", id }, base, top, overlay, tip);
  node.style.height = `${height}px`;
  const chart = { node, tip, frame: null, dragged: false };

  function frameOf() {
    const width = node.clientWidth;
    const edges = { left: 54, right: 12, top: 12, bottom: 44, ...margin };
    return { width, height, left: edges.left, right: width - edges.right, top: edges.top, bottom: height - edges.bottom };
  }

  function pen(canvas) {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const { width } = chart.frame;
    if (canvas.width !== Math.round(width * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  }

  chart.draw = () => {
    if (!node.clientWidth) return;
    chart.frame = frameOf();
    base.setAttribute("aria-label", typeof text === "function" ? text() : text);
    draw(pen(base), chart.frame);
    overlay.replaceChildren(...decorate(chart.frame));
    chart.mark();
  };
  chart.mark = () => {
    if (chart.frame && over) over(pen(top), chart.frame);
  };
  new ResizeObserver(() => { if (chart.frame?.width !== node.clientWidth) chart.draw(); }).observe(node);
  listen("filter", chart.draw);
  listen("mark", chart.mark);
  return chart;
}

/** Axes with ticks [pixel, text]; the horizontal one has a title. */
function drawAxes(frame, { x, y }) {
  const found = [];
  if (x) {
    found.push(svg("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }));
    for (const [at, text] of spaced(x.ticks, frame)) {
      found.push(svg("line", { class: "grid", x1: at, x2: at, y1: frame.top, y2: frame.bottom }));
      found.push(svg("text", { x: at, y: frame.bottom + 16, "text-anchor": "middle" }, text));
    }
    found.push(svg("text", { class: "title", x: (frame.left + frame.right) / 2, y: frame.height - 6, "text-anchor": "middle" }, x.title));
  }
  for (const [at, text] of y ? y.ticks : []) {
    found.push(svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: at, y2: at }));
    found.push(svg("text", { x: frame.left - 6, y: at + 4, "text-anchor": "end" }, text));
  }
  return found;
}

/** The ticks whose texts don't overlap. */
function spaced(all, frame) {
  let last = -Infinity;
  return all.filter(([at, text]) => {
    const half = 3.4 * text.length + 4;
    if (at - half < last || at + half > frame.width + 12) return false;
    last = at + half;
    return true;
  });
}

/** A vertical scale for the numbers of a picture: logarithmic where they are positive and far apart. */
function verticalScale(low, high, frame) {
  if (!(high > low)) [low, high] = [low - (Math.abs(low) || 1) / 10, low + (Math.abs(low) || 1) / 10];
  const log = low > 0 && high > 50 * low;
  const [from, to] = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const pad = (to - from) * 0.04;
  const place = (value) => frame.bottom - ((log ? Math.log10(value) : value) - from + pad) / (to - from + 2 * pad) * (frame.bottom - frame.top);
  const marks = log ? ticks(makeAxis({ name: "", scale: "log", values: [low, high, Math.sqrt(low * high)] }), 2) : roundTicks(low, high, 5);
  return { place, ticks: marks.map((value) => [place(value), written(value, 3)]) };
}

/** Draws a line through points [x, y], with gaps where y is no number. */
function stroke(pen, points) {
  pen.beginPath();
  let broken = true;
  for (const [x, y] of points) {
    if (!Number.isFinite(y)) broken = true;
    else if (broken) { pen.moveTo(x, y); broken = false; }
    else pen.lineTo(x, y);
  }
  pen.stroke();
}

/** Fills between two lines [x, low, high]. */
function fillBetween(pen, points) {
  const known = points.filter(([, low, high]) => Number.isFinite(low) && Number.isFinite(high));
  pen.beginPath();
  for (const [x, low] of known) pen.lineTo(x, low);
  for (const [x, , high] of known.reverse()) pen.lineTo(x, high);
  pen.fill();
}

/** Shows a text beside the pointer, inside of the chart. */
function showTip(chart, x, y, text) {
  chart.tip.hidden = !text;
  if (!text) return;
  chart.tip.textContent = text;
  const wide = chart.tip.offsetWidth;
  chart.tip.style.left = `${clamp(x + 12, 0, Math.max(chart.frame.width - wide - 4, 0))}px`;
  chart.tip.style.top = `${clamp(y - 34, 0, chart.frame.height - 30)}px`;
}

/** Marks the trial that `nearest(x, y)` finds under the pointer, and pins it at a click. */
function followPointer(chart, nearest) {
  const place = (event) => {
    const box = chart.node.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  chart.node.addEventListener("pointermove", (event) => {
    if (!chart.frame || event.buttons) return;
    const [x, y] = place(event);
    const trial = nearest(x, y);
    hover(trial);
    showTip(chart, x, y, trial >= 0 ? `${described(trial)} · ${scoreText(trial)}` : "");
  });
  chart.node.addEventListener("pointerleave", () => { hover(-1); showTip(chart, 0, 0, ""); });
  chart.node.addEventListener("click", (event) => {
    const dragged = chart.dragged;
    chart.dragged = false;
    if (!chart.frame || dragged || event.target.dataset.brush !== undefined) return;
    const trial = nearest(...place(event));
    if (trial >= 0) pin(trial);
  });
}
