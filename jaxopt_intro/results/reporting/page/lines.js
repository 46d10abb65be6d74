// The score against one setting, a line for each label of a choice; and the best score so far.

function sensitivityView() {
  if (!settingAxes.length) return;
  const numbers = settingAxes.filter(({ choice }) => !choice);
  const choices = settingAxes.filter(({ choice }) => choice);
  const rate = numbers.find(({ name }) => /(^|\.)learning_rate$/.test(name)) ?? numbers[0] ?? settingAxes[0];
  const first = choices.find(({ name }) => name === "optimizer") ?? choices[0];
  const chosen = { "lines-x": rate.name, "lines-by": first && first !== rate ? first.name : "", ...state.chosen };
  const legend = element("ul", { class: "names" });
  let scale = null;

  const x = (frame, axis, value) => frame.left + 10 + axis.position(value) * (frame.right - frame.left - 20);

  /** For each series the best trial of each stretch of the axis. */
  function series() {
    const axis = axes.get(chosen["lines-x"]);
    const by = axes.get(chosen["lines-by"]);
    const parts = stretches(axis);
    const labels = by ? [...by.known] : [NaN];
    return labels.map((value, number) => {
      const own = Array.from(state.kept).filter((trial) => !by || by.values[trial] === value);
      const best = parts.map(({ holds }) => own.find((trial) => holds(axis.values[trial]) && !Number.isNaN(scores[trial]))).filter((trial) => trial !== undefined);
      return { name: by ? by.labels[value] : "", number, own, best };
    }).filter(({ own }) => own.length);
  }

  function draw(pen, frame) {
    const axis = axes.get(chosen["lines-x"]);
    const all = series();
    const known = Array.from(state.kept, (trial) => scores[trial]).filter(Number.isFinite).sort((a, b) => a - b);
    // The worst tenth would flatten the rest: those points lie at the foot, or top, of the picture.
    const cutOff = known.length > 20 ? [better > 0 ? quantile(known, 0.1) : known[0], better > 0 ? known.at(-1) : quantile(known, 0.9)] : [known[0] ?? 0, known.at(-1) ?? 1];
    scale = verticalScale(...cutOff, frame);
    const y = (trial) => clamp(scale.place(scores[trial]), frame.top, frame.bottom);
    for (const { number, own, best } of all) {
      const colour = colourOfSeries(number);
      [pen.fillStyle, pen.strokeStyle] = [colour, colour];
      pen.globalAlpha = own.length > 300 ? 0.25 : 0.45;
      pen.lineWidth = 1.5;
      for (const trial of own) {
        const at = x(frame, axis, axis.values[trial]);
        if (Number.isNaN(at)) continue;
        if (!Number.isNaN(scores[trial])) dot(pen, at, y(trial), 2.5, number);
        else if (trials.status[trial] === FAILED) cross(pen, at, frame.bottom - 6 - 6 * (number % 5));
      }
      pen.globalAlpha = 1;
      pen.lineWidth = 2;
      pen.setLineDash(dashesOf(number));
      stroke(pen, best.map((trial) => [x(frame, axis, axis.values[trial]), y(trial)]));
      pen.setLineDash([]);
      for (const trial of best) {
        const at = x(frame, axis, axis.values[trial]);
        dot(pen, at, y(trial), 4, number);
        if (trials.error[trial]) stroke(pen, [-1, 1].map((side) => [at, clamp(scale.place(scores[trial] + side * trials.error[trial]), frame.top, frame.bottom)]));
      }
    }
    nameSeries(all, known.length > 20);
  }

  function over(pen, frame) {
    const axis = axes.get(chosen["lines-x"]);
    [pen.strokeStyle, pen.lineWidth] = [look("--mark"), 2.5];
    for (const trial of scale ? marked() : []) {
      pen.beginPath();
      pen.arc(x(frame, axis, axis.values[trial]), clamp(scale.place(scores[trial]), frame.top, frame.bottom), 8, 0, 7);
      pen.stroke();
    }
  }

  function nameSeries(all, cutOff) {
    legend.replaceChildren(...all.filter(({ name }) => name).map(({ name, number, best }) => {
      const top = best.length ? `best ${scoreText(best.reduce((a, b) => trials.rank[a] < trials.rank[b] ? a : b))}` : "no score";
      return element("li", {}, sample(number), ` ${name} · ${top}`);
    }));
    note.textContent = `Lines: the best at each value, over all else${data.seeds > 1 ? ", with its standard error" : ""}. Small points: every trial${cutOff ? "; the worst tenth lies at the edge" : ""}. ×: failed.`;
  }

  const note = element("p", { class: "help" });
  const chart = makeChart({
    id: "lines-plot", height: 320, draw, over,
    label: () => `${data.objective} against ${chosen["lines-x"]}${chosen["lines-by"] ? `, a line for each ${chosen["lines-by"]}` : ""}`,
    decorate: (frame) => {
      const axis = axes.get(chosen["lines-x"]);
      return drawAxes(frame, { x: { title: axis.name, ticks: ticks(axis, 8).map((value) => [x(frame, axis, value), cut(label(axis, value), 14)]) }, y: scale });
    },
  });
  followPointer(chart, (left, top) => {
    const axis = axes.get(chosen["lines-x"]);
    let [found, least] = [-1, 12];
    for (const trial of state.kept) {
      const away = Math.hypot(x(chart.frame, axis, axis.values[trial]) - left, clamp(scale.place(scores[trial]), chart.frame.top, chart.frame.bottom) - top);
      if (away < least) [found, least] = [trial, away];
    }
    return found;
  });
  const choose = (id) => (value) => { chosen[id] = state.chosen[id] = value; chart.draw(); };
  const bar = [select("lines-x", "against", settingAxes.map(({ name }) => [name, name]), chosen["lines-x"], choose("lines-x"))];
  if (choices.length) bar.push(select("lines-by", "a line for each", [["", "nothing"], ...choices.map(({ name }) => [name, name])], chosen["lines-by"], choose("lines-by")));
  card("lines", "Sensitivity", null, element("p", { class: "bar" }, ...bar), chart.node, legend, note);
}

/** A point of a shape of its own for each series, so that colour is not all that tells them apart. */
function dot(pen, x, y, size, number) {
  pen.beginPath();
  if (number % 3 === 0) pen.arc(x, y, size, 0, 7);
  else if (number % 3 === 1) pen.rect(x - size, y - size, 2 * size, 2 * size);
  else [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]].forEach(([a, b]) => pen.lineTo(x + a * size, y + b * size));
  pen.fill();
}

function cross(pen, x, y) {
  stroke(pen, [[x - 3, y - 3], [x + 3, y + 3]]);
  stroke(pen, [[x - 3, y + 3], [x + 3, y - 3]]);
}

function progressView() {
  const { seconds: times, best, ended } = data.progress;
  if (!best.length) return;
  const chosen = { "progress-x": "seconds", ...state.chosen };
  let scale = null;
  let reach = 1;
  const x = (frame, value) => frame.left + value / reach * (frame.right - frame.left);

  /** The points, and the line that only rises (or falls). */
  function points() {
    if (chosen["progress-x"] === "seconds") return { dots: [], line: times.map((time, number) => [time, best[number]]) };
    let top = NaN;
    const dots = ended.map((trial, number) => [number + 1, scores[trial]]);
    return { dots, line: dots.map(([at, value]) => [at, (top = Number.isNaN(top) || better * value > better * top ? value : top)]) };
  }

  function draw(pen, frame) {
    const { dots, line } = points();
    reach = line.at(-1)?.[0] || 1;
    const known = dots.map(([, value]) => value).sort((a, b) => a - b);
    const low = Math.min(...line.map(([, value]) => value), better > 0 && known.length ? quantile(known, 0.25) : Infinity);
    const high = Math.max(...line.map(([, value]) => value), better < 0 && known.length ? quantile(known, 0.75) : -Infinity);
    scale = verticalScale(low, high, frame);
    pen.fillStyle = look("--faint");
    pen.globalAlpha = 0.6;
    for (const [at, value] of dots) dot(pen, x(frame, at), clamp(scale.place(value), frame.top, frame.bottom), 2, 0);
    pen.globalAlpha = 1;
    [pen.strokeStyle, pen.lineWidth] = [colourOfSeries(0), 2.5];
    const steps = line.flatMap(([at, value], number) => number ? [[at, line[number - 1][1]], [at, value]] : [[at, value]]);
    stroke(pen, steps.map(([at, value]) => [x(frame, at), scale.place(value)]));
  }

  const chart = makeChart({
    id: "progress-plot", height: 260, draw,
    label: () => `The best ${data.objective} so far, ${written(best.at(-1))} after ${seconds(times.at(-1))}`,
    decorate: (frame) => drawAxes(frame, { x: { title: chosen["progress-x"] === "seconds" ? "seconds" : "trials that have ended", ticks: roundTicks(0, reach, 6).map((value) => [x(frame, value), written(value)]) }, y: scale }),
  });
  const choose = (value) => { chosen["progress-x"] = state.chosen["progress-x"] = value; chart.draw(); };
  const options = [["seconds", "seconds"], ...(ended.length ? [["trials", "trials"]] : [])];
  card("progress", "The best so far", "Of all trials whose every seed has a score and none failed; filters do not change it.",
    element("p", { class: "bar" }, select("progress-x", "against", options, chosen["progress-x"], choose)), chart.node);
}
