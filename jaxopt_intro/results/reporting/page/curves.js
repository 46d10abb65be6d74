// Learning curves of the best trials that the filters leave; of all of them, where they are more, how they are spread.

const NAMED = 6; // curves with a colour, a band and a place in the legend of their own

function curvesView() {
  const { epochs, metrics, left_out: leftOut } = data.curves;
  if (!metrics.length) return;
  const loaded = new Map();
  const chosen = { "curves-metric": metrics[0].name, "curves-count": "10", ...state.chosen };
  const legend = element("ol", { class: "names" });
  let named = []; // the trials of the legend
  let all = []; // the trials drawn
  let scale = null;

  function metric() {
    const found = metrics.find(({ name }) => name === chosen["curves-metric"]) ?? metrics[0];
    if (!loaded.has(found.name)) {
      loaded.set(found.name, { mean: unpacked(found.mean), low: found.low && unpacked(found.low), high: found.high && unpacked(found.high) });
    }
    return loaded.get(found.name);
  }
  const at = (values, trial, number) => values[trial * epochs.length + number];
  const x = (frame, epoch) => frame.left + (epochs.length > 1 ? (epoch - epochs[0]) / (epochs.at(-1) - epochs[0]) : 0.5) * (frame.right - frame.left);
  const inside = (frame, value) => clamp(scale.place(value), frame.top, frame.bottom);
  const line = (frame, values, trial) => epochs.map((epoch, number) => [x(frame, epoch), scale.place(at(values, trial, number))]);

  function spread(values) {
    return epochs.map((epoch, number) => {
      const own = Float64Array.from(state.kept, (trial) => at(values, trial, number)).filter(Number.isFinite).sort();
      return [epoch, ...[0.1, 0.5, 0.9].map((share) => quantile(own, share))];
    });
  }

  function range(values, trialsShown, spreads) {
    const found = spreads.map(([, , middle]) => middle); // the good ones must stay apart, so the band may be cut off
    for (const trial of trialsShown) for (let number = 0; number < epochs.length; number++) found.push(at(values, trial, number));
    const known = found.filter(Number.isFinite).sort((a, b) => a - b);
    return known.length ? [known[0], known.at(-1)] : [0, 1];
  }

  function draw(pen, frame) {
    const { mean, low, high } = metric();
    all = Array.from(state.kept.slice(0, Number(chosen["curves-count"]))).filter((trial) => !Number.isNaN(scores[trial]));
    named = all.slice(0, NAMED);
    const spreads = state.kept.length > all.length ? spread(mean) : [];
    scale = verticalScale(...range(mean, all, spreads), frame);
    if (spreads.length) {
      pen.fillStyle = look("--band");
      fillBetween(pen, spreads.map(([epoch, a, , b]) => [x(frame, epoch), inside(frame, a), inside(frame, b)]));
      [pen.strokeStyle, pen.lineWidth] = [look("--faint"), 1.5];
      pen.setLineDash([3, 4]);
      stroke(pen, spreads.map(([epoch, , middle]) => [x(frame, epoch), scale.place(middle)]));
    }
    for (const trial of [...all].reverse()) drawCurve(pen, frame, trial, { mean, low, high });
    pen.setLineDash([]);
    nameCurves();
  }

  function drawCurve(pen, frame, trial, { mean, low, high }, emphasis = false) {
    const place = named.indexOf(trial);
    pen.strokeStyle = place >= 0 ? colourOfSeries(place) : emphasis ? look("--mark") : colourOf(trial);
    if ((place >= 0 || emphasis) && low) {
      pen.fillStyle = pen.strokeStyle;
      pen.globalAlpha = 0.16;
      fillBetween(pen, epochs.map((epoch, number) => [x(frame, epoch), scale.place(at(low, trial, number)), scale.place(at(high, trial, number))]));
    }
    pen.globalAlpha = place >= 0 || emphasis ? 1 : 0.6;
    pen.setLineDash(place >= 0 ? dashesOf(place) : []);
    pen.lineWidth = emphasis ? 4 : place === 0 ? 2.5 : place > 0 ? 1.8 : 1;
    stroke(pen, line(frame, mean, trial));
    pen.globalAlpha = 1;
  }

  function over(pen, frame) {
    if (scale) for (const trial of marked()) drawCurve(pen, frame, trial, metric(), true);
  }

  function nameCurves() {
    legend.replaceChildren(...named.map((trial, place) => {
      return element("li", { onpointerenter: () => hover(trial), onpointerleave: () => hover(-1) }, sample(place), ` ${described(trial)} · ${scoreText(trial)}`);
    }));
    const bands = data.seeds > 1 ? " Bands reach from the lowest to the highest seed." : "";
    const rest = state.kept.length > all.length ? ` Grey: 10 to 90 % of the ${many(state.kept.length, "trial")} shown, and their median.` : "";
    note.textContent = `The ${all.length} best of what the filters leave.${bands}${rest}${leftOut.length ? ` Left out to keep this file small: ${leftOut.join(", ")}.` : ""}`;
  }

  const note = element("p", { class: "help" });
  const chart = makeChart({
    id: "curves-plot", height: 320, draw, over,
    label: () => `Learning curves, ${chosen["curves-metric"]} by epoch, of the best trials: ${named.map((trial) => described(trial)).join("; ")}`,
    decorate: (frame) => drawAxes(frame, {
      x: { title: "epoch", ticks: roundTicks(epochs[0], epochs.at(-1), 8).filter(Number.isInteger).map((epoch) => [x(frame, epoch), String(epoch)]) },
      y: scale,
    }),
  });
  followPointer(chart, (left, top) => {
    const { mean } = metric();
    const number = epochs.reduce((best, epoch, own) => Math.abs(x(chart.frame, epoch) - left) < Math.abs(x(chart.frame, epochs[best]) - left) ? own : best, 0);
    let [found, least] = [-1, 14];
    for (const trial of all) {
      const away = Math.abs(scale.place(at(mean, trial, number)) - top);
      if (away < least) [found, least] = [trial, away];
    }
    return found;
  });
  const choose = (id) => (value) => { chosen[id] = state.chosen[id] = value; chart.draw(); };
  card("curves", "Learning curves", null,
    element("p", { class: "bar" },
      select("curves-metric", "of", metrics.map(({ name }) => [name, name]), chosen["curves-metric"], choose("curves-metric")),
      select("curves-count", "of the best", ["10", "25", "50"].map((count) => [count, count]), chosen["curves-count"], choose("curves-count"))),
    chart.node, legend, note);
}
