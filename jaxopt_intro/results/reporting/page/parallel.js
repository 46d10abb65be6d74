// Parallel coordinates: a line for each trial across the settings that vary and the score. Drag along an axis to filter.

function parallelView() {
  const shown = [...settingAxes, scoreAxis];
  const none = 16; // below its axis lies a trial that doesn't have the setting

  const xOf = (frame, number) => shown.length > 1
    ? frame.left + number / (shown.length - 1) * (frame.right - frame.left) : (frame.left + frame.right) / 2;
  const yOf = (frame, axis, trial) => {
    const value = axis.values[trial];
    return Number.isNaN(value) ? frame.bottom + none : frame.bottom - axis.position(value) * (frame.bottom - frame.top);
  };
  const trace = (pen, frame, trial) => {
    shown.forEach((axis, number) => pen.lineTo(xOf(frame, number), yOf(frame, axis, trial)));
  };

  function draw(pen, frame) {
    pen.lineWidth = 1;
    pen.globalAlpha = 0.5;
    pen.strokeStyle = look("--ghost");
    pen.beginPath();
    for (let trial = 0; trial < total; trial++) {
      if (state.passes[trial]) continue;
      pen.moveTo(xOf(frame, 0), yOf(frame, shown[0], trial));
      trace(pen, frame, trial);
    }
    pen.stroke();
    pen.globalAlpha = clamp(60 / Math.sqrt(state.kept.length * 40), 0.25, 0.9);
    pen.lineWidth = state.kept.length > 500 ? 1 : 1.5;
    for (const trial of Array.from(state.kept).reverse()) {
      pen.strokeStyle = colourOf(trial);
      pen.beginPath();
      trace(pen, frame, trial);
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  function over(pen, frame) {
    for (const trial of marked()) {
      for (const [width, colour] of [[5, look("--card")], [2.5, look("--mark")]]) {
        [pen.lineWidth, pen.strokeStyle] = [width, colour];
        pen.beginPath();
        trace(pen, frame, trial);
        pen.stroke();
      }
    }
  }

  function decorate(frame) {
    const found = [];
    shown.forEach((axis, number) => {
      const x = xOf(frame, number);
      const anchor = number === 0 ? "start" : number === shown.length - 1 ? "end" : "middle";
      const gap = (frame.right - frame.left) / Math.max(shown.length - 1, 1);
      found.push(svg("text", { class: "title", x: number === 0 ? 4 : number === shown.length - 1 ? frame.width - 4 : x, y: number % 2 && gap < 130 ? 30 : 14, "text-anchor": anchor }, cut(axis.name, 22)));
      found.push(svg("line", { class: "axis", x1: x, x2: x, y1: frame.top, y2: frame.bottom }));
      const last = number === shown.length - 1;
      for (const value of thinned(axis, frame)) {
        const y = frame.bottom - axis.position(value) * (frame.bottom - frame.top);
        found.push(svg("text", { class: "halo", x: last ? x - 6 : x + 6, y: y + 4, "text-anchor": last ? "end" : "start" }, cut(label(axis, value), 16)));
      }
      if (axis.values.some(Number.isNaN)) {
        found.push(svg("text", { class: "halo", x: last ? x - 6 : x + 6, y: frame.bottom + none + 4, "text-anchor": last ? "end" : "start" }, axis === scoreAxis ? "no score" : "none"));
      }
      found.push(...brushOf(axis, x, frame));
    });
    return found;
  }

  const thinned = (axis, frame) => {
    const all = ticks(axis, 7);
    const each = Math.ceil(all.length * 15 / (frame.bottom - frame.top));
    return all.filter((_, number) => number % each === 0);
  };

  function brushOf(axis, x, frame) {
    const filter = state.filters.get(axis.name);
    const found = [];
    const height = frame.bottom - frame.top;
    const add = (low, high) => {
      const [y, size] = [frame.bottom - clamp(high) * height, Math.max((clamp(high) - clamp(low)) * height, 3)];
      found.push(svg("rect", { class: "brush", x: x - 8, y, width: 16, height: size, rx: 3 }));
    };
    if (filter?.labels) {
      const half = 0.5 / axis.labels.length;
      for (const value of filter.labels) add(axis.position(value) - half, axis.position(value) + half);
    } else if (filter) {
      add(Number.isFinite(filter.low) ? axis.position(filter.low) : 0, Number.isFinite(filter.high) ? axis.position(filter.high) : 1);
    }
    const hit = svg("rect", { class: "hit", "data-brush": axis.name, x: x - 16, y: frame.top - 6, width: 32, height: height + 12 });
    hit.addEventListener("pointerdown", (event) => drag(event, axis, frame));
    found.push(hit);
    return found;
  }

  /** Filters by what the pointer passes along an axis; a click without a drag takes the filter away. */
  function drag(event, axis, frame) {
    event.preventDefault();
    const box = chart.node.getBoundingClientRect();
    const share = (y) => clamp((frame.bottom - (y - box.top)) / (frame.bottom - frame.top), -0.02, 1.02);
    const from = share(event.clientY);
    let moved = chart.dragged = false;
    const move = (now) => {
      const to = share(now.clientY);
      moved = chart.dragged ||= Math.abs(now.clientY - event.clientY) > 4;
      if (moved) setFilter(axis.name, spanned(axis, Math.min(from, to), Math.max(from, to)));
    };
    const stop = () => {
      removeEventListener("pointermove", move);
      removeEventListener("pointerup", stop);
      removeEventListener("pointercancel", stop);
      if (!moved) setFilter(axis.name, null);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
    addEventListener("pointercancel", stop);
  }

  const chart = makeChart({
    id: "parallel-plot", height: 340, margin: { left: 24, right: 24, top: 46, bottom: 30 }, draw, over, decorate,
    label: () => `Parallel coordinates of ${many(state.kept.length, "trial")} over ${shown.map((axis) => axis.name).join(", ")}. The filters below say the same by keyboard.`,
  });
  chart.node.style.minWidth = `${shown.length * 84}px`;
  followPointer(chart, (x, y) => {
    const { frame } = chart;
    const place = clamp((x - frame.left) / (frame.right - frame.left), 0, 0.9999) * (shown.length - 1);
    const left = Math.floor(place);
    if (shown.length < 2) return -1;
    let [found, least] = [-1, 8];
    for (const trial of state.kept) {
      const [a, b] = [yOf(frame, shown[left], trial), yOf(frame, shown[left + 1], trial)];
      const away = Math.abs(a + (place - left) * (b - a) - y);
      if (away < least) [found, least] = [trial, away];
    }
    return found;
  });
  card("parallel", "All trials", "A line is a trial, coloured by its score. Drag along an axis to keep only what lies there; click the axis to take that away.",
    element("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Parallel coordinates" }, chart.node), colourLegend());
}

/** The filter of a stretch of an axis: of numbers its two ends, of labels those inside, or the nearest. */
function spanned(axis, low, high) {
  if (!axis.choice) {
    // Half a pixel more, so that a value at the very end of what was dragged over is inside.
    return { low: low <= 0 ? -Infinity : axis.value(low - 0.002), high: high >= 1 ? Infinity : axis.value(high + 0.002) };
  }
  const inside = axis.labels.map((_, number) => number).filter((number) => axis.position(number) >= low && axis.position(number) <= high);
  return { labels: new Set(inside.length ? inside : [axis.value((low + high) / 2)]) };
}

function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
