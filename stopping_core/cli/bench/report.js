"use strict";
// What models wrote is data: it reaches the page by textContent and attributes only.
const DATA = JSON.parse(document.getElementById("data").textContent);

const SIGNALS = {
  logprob: { name: "log-probability (nats)", hue: "213,94,0", share: (v) => Math.min(1, -v / 4), from: "0: certain", to: "−4 and below" },
  entropy: { name: "entropy (nats)", hue: "213,94,0", share: (v) => Math.min(1, v / 4), from: "0: certain", to: "4 and above" },
  margin: { name: "margin", hue: "213,94,0", share: (v) => 1 - v, from: "1: certain", to: "0: a toss-up" },
  end: { name: "probability of the end", hue: "0,114,178", share: (v) => Math.sqrt(v), from: "0", to: "1: would end here" },
};

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function options(select, names) {
  select.replaceChildren(...names.map((name, i) => {
    const option = make("option", "", name);
    option.value = String(i);
    return option;
  }));
}

const percent = (value) => (value === null ? "unknown" : `${value.toFixed(1)}%`);
// Plotly reads a little HTML in its texts.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function drawFrontier(file, place) {
  // The settings of the line, then the others, each behind a gap: null ends a line.
  const drawn = (curve) => {
    const rest = curve.points.filter((_, i) => !curve.line.includes(i));
    return [...curve.line.map((i) => curve.points[i]), ...rest.flatMap((p) => [null, p])];
  };
  const traces = file.curves.map((curve) => ({
    x: drawn(curve).map((p) => p && p.lost),
    y: drawn(curve).map((p) => p && p.saving),
    text: drawn(curve).map((p) => p &&
      `<b>${plain(curve.policy)}</b><br>${plain(p.setting)}<br>report: saving ${percent(p.saving)}, lost ${p.lost.toFixed(2)}, gained ${p.gained.toFixed(2)}` +
      `<br>choose: saving ${percent(p.choose_saving)}, lost ${p.choose_lost.toFixed(2)}`),
    name: plain(curve.policy),
    legendgroup: curve.tier,
    legendgrouptitle: { text: plain(curve.tier) },
    mode: "lines+markers",
    line: { color: curve.color, width: curve.leads ? 3 : 1.2 },
    marker: {
      size: curve.leads ? 8 : 5,
      opacity: drawn(curve).map((_, i) => (i < curve.line.length ? 1 : 0.25)),
    },
    opacity: curve.leads ? 1 : 0.55,
    hovertemplate: "%{text}<extra></extra>",
  }));
  if (file.oracle) {
    traces.push({
      x: [file.oracle.lost], y: [file.oracle.saving], name: "oracle", mode: "markers",
      legendgroup: "oracle", legendgrouptitle: { text: "bound" },
      marker: { symbol: "star", size: 17, color: "#6a3d9a" },
      hovertemplate: `<b>oracle</b><br>saving ${percent(file.oracle.saving)}<extra></extra>`,
    });
  }
  const highest = Math.max(40, ...traces.flatMap((trace) => trace.y.filter((_, i) => trace.x[i] <= 2 * file.widest)));
  Plotly.newPlot(place, traces, {
    margin: { l: 64, r: 16, t: 16, b: 52 },
    hovermode: "closest",
    xaxis: { title: { text: "right answers lost, points of all runs" }, range: [-0.02 * file.widest, file.widest], zeroline: true },
    yaxis: { title: { text: "tokens saved, probes paid, %" }, range: [-0.02 * highest, 1.06 * highest], zeroline: true },
    shapes: DATA.levels.filter((level) => level > 0).map((level) => ({
      type: "line", yref: "paper", y0: 0, y1: 1, x0: level, x1: level,
      line: { color: "#b8c0c8", width: 1, dash: "dot" },
    })),
    legend: { groupclick: "toggleitem", font: { size: 11 }, tracegroupgap: 6 },
  }, {
    displaylogo: false,
    responsive: true,
    showSendToCloud: false, // a report sends nothing anywhere
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d"],
  });
}

function drawRun(file, run, policy, signal, place) {
  const cut = run.cuts[policy];
  const stops = Boolean(cut && cut.stopped);
  const facts = place.querySelector(".facts");
  facts.replaceChildren();
  const fact = (name, value) => facts.append(make("dt", "", name), make("dd", "", value));
  fact("question", run.question);
  fact("gold", run.gold.join(" / "));
  fact("full run", `${run.right ? "right" : "wrong"}; ${run.tokens.length} tokens; ended by ${run.finish}`);
  if (cut) {
    const change = run.right === cut.right ? (cut.right ? "still right" : "still wrong") : cut.right ? "gained" : "LOST";
    const bill = cut.probed ? `${cut.tokens} tokens and ${cut.probed} in probes` : `${cut.tokens} tokens`;
    fact("cut", stops ? `${change}; ${bill}; reason: ${cut.reason || "none given"}` : `not cut; ${bill}`);
    if (cut.answer !== null) fact("answer then", cut.answer);
  } else if (file.policies.length) {
    fact("cut", "not known");
  }
  const stream = place.querySelector(".stream");
  const pieces = [];
  const probes = new Map(run.probes.map((probe) => [probe.at, probe]));
  const scale = SIGNALS[signal];
  let gone = false;
  const marks = (at) => {
    const probe = probes.get(at);
    if (probe) {
      const mark = make("span", `mark probe${probe.right ? " right" : ""}`, "?");
      mark.title = `asked here, it answers: ${probe.text}`;
      pieces.push(mark);
    }
    if (run.oracle === at) pieces.push(make("span", "mark oracle", "oracle"));
  };
  run.tokens.forEach((text, i) => {
    if (stops && !gone && i >= cut.at) {
      gone = true;
      pieces.push(make("span", "mark cut", `cut: ${cut.reason || "no reason"}`));
    }
    marks(i);
    const token = make("span", `token${gone ? " gone" : ""}`, text);
    const values = file.signals.map((name) => [name, run[name] ? run[name][i] : null]);
    token.title = values.map(([name, v]) => `${SIGNALS[name].name}: ${v === null ? "none" : v}`).join("\n");
    const value = scale && run[signal] ? run[signal][i] : null;
    if (value !== null) token.style.backgroundColor = `rgba(${scale.hue},${(0.75 * Math.max(0, scale.share(value))).toFixed(3)})`;
    pieces.push(token);
  });
  marks(run.tokens.length);
  if (stops && !gone) pieces.push(make("span", "mark cut", `cut: ${cut.reason || "no reason"}`));
  pieces.push(make("span", "mark end", run.finish));
  stream.replaceChildren(...pieces);
  const key = place.querySelector(".key");
  key.replaceChildren();
  if (scale) {
    const bar = make("span", "scale");
    bar.style.background = `linear-gradient(to right, rgba(${scale.hue},0), rgba(${scale.hue},.75))`;
    key.append(make("span", "", scale.name), make("span", "", scale.from), bar, make("span", "", scale.to));
  }
  if (run.probes.length) key.append(make("span", "", "? a probe: what it would answer there (green: right); point at it"));
}

function startViewer(file, place) {
  const [filter, which, policy, signal] = place.querySelectorAll("select");
  const [back, on] = place.querySelectorAll("button");
  const kinds = ["all runs", "lost by this cut", "gained by this cut", "right in full", "wrong in full"];
  let shown = [];
  const keep = [
    () => true,
    (run) => run.right && run.cuts[policy.value] && !run.cuts[policy.value].right,
    (run) => !run.right && run.cuts[policy.value] && run.cuts[policy.value].right,
    (run) => run.right,
    (run) => !run.right,
  ];
  const draw = () => {
    const run = shown[Number(which.value)];
    const empty = run === undefined;
    place.querySelector(".viewer").hidden = empty;
    place.querySelector(".none").hidden = !empty;
    if (!empty) drawRun(file, run, Number(policy.value), file.signals[Number(signal.value)], place);
  };
  const list = () => {
    const before = shown[Number(which.value)];
    shown = file.runs.filter(keep[Number(filter.value)]);
    options(which, shown.map((run) => `${run.id}: ${run.question.slice(0, 60)}`));
    which.value = String(Math.max(0, shown.indexOf(before)));
    draw();
  };
  const go = (step) => {
    if (!shown.length) return;
    which.value = String((Number(which.value) + step + shown.length) % shown.length);
    draw();
  };
  options(filter, kinds);
  options(policy, file.policies);
  options(signal, [...file.signals.map((name) => SIGNALS[name].name), "nothing"]);
  filter.onchange = list;
  policy.onchange = list;
  which.onchange = draw;
  signal.onchange = draw;
  back.onclick = () => go(-1);
  on.onclick = () => go(1);
  list();
}

DATA.files.forEach((file, i) => {
  const place = document.getElementById(`file-${i}`);
  const frontier = place.querySelector(".frontier");
  if (frontier) drawFrontier(file, frontier);
  if (file.runs.length) startViewer(file, place.querySelector(".runs"));
});
