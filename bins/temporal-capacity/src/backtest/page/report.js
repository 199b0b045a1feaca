"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colors = { load: "#1f5fbf", limit: "#1d2733", throttled: "#b91c1c", capacity: "#15803d" };
  const day = 86400;
  const two = (n) => String(n).padStart(2, "0");
  const element = (parent, name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text) made.textContent = text;
    return parent.appendChild(made);
  };
  for (const trace of data) {
    const holder = document.getElementById(trace.id);
    const start = trace.first_minute * 60, dated = trace.first_minute > 0;
    const x = trace.load.map((_, i) => start + i * trace.step * 60);
    const first = x[0], last = Math.max(x[x.length - 1], first + 3600);
    const date = (s) => new Date(s * 1000).toISOString();
    const when = (s) => (dated
      ? date(s).slice(0, 16).replace("T", " ") + " UTC"
      : "day " + (Math.floor(s / day) + 1) + ", " + two(Math.floor(s / 3600) % 24) + ":" + two(Math.floor(s / 60) % 60));
    const tick = (s) => (s % day ? two(Math.floor(s / 3600) % 24) + ":" + two(Math.floor(s / 60) % 60)
      : dated ? date(s).slice(5, 10) : "day " + (Math.floor(s / day) + 1));
    const size = (trus) => (trus ? trus + " TRUs" : "on-demand");
    const phone = () => holder.clientWidth < 600;
    const width = () => Math.max(260, holder.clientWidth);

    const bar = element(holder, "div", "zoom");
    const plots = [];
    const show = (min, max) => {
      const span = Math.min(max - min, last - first);
      const begin = Math.max(first, Math.min(min, last - span));
      plots[0].setScale("x", { min: begin, max: begin + span });
    };
    const around = (span) => () => {
      const { min, max } = plots[0].scales.x;
      const middle = trace.decisions.length && max - min >= last - first
        ? start + trace.decisions[trace.decisions.length - 1].minute * 60 : (min + max) / 2;
      show(middle - span / 2, middle + span / 2);
    };
    const move = (direction) => () => {
      const { min, max } = plots[0].scales.x, by = (direction * (max - min)) / 2;
      show(min + by, max + by);
    };
    const buttons = [["All", () => show(first, last)], ["Week", around(7 * day)], ["Day", around(day)], ["Hour", around(3600)]];
    for (const [text, act] of [...buttons.filter(([name], i) => !i || name === "Hour" || last - first > (name === "Week" ? 7 : 1) * day),
      ["\u2190", move(-1)], ["\u2192", move(1)]]) {
      const button = element(bar, "button", "", text);
      button.type = "button";
      button.addEventListener("click", act);
      if (text === "\u2190") button.setAttribute("aria-label", "Earlier");
      if (text === "\u2192") button.setAttribute("aria-label", "Later");
    }
    const readout = element(holder, "p", "readout");
    const part = (name, label) => {
      const span = element(readout, "span");
      if (colors[name]) element(span, "i", name);
      span.append(label + " ");
      return element(span, "b");
    };
    const shown = { time: part("time", ""), load: part("load", "load"), limit: part("limit", "limit"), throttled: part("throttled", "throttled"), capacity: part("capacity", "capacity") };
    const rate = (v) => (v == null ? "unknown" : v.toLocaleString("en-US") + "/s");
    const read = (i) => {
      const known = i != null;
      shown.time.textContent = known ? when(x[i]) : "";
      for (const name of ["load", "limit", "throttled"]) shown[name].textContent = known ? rate(trace[name][i]) : "";
      shown.capacity.textContent = known ? size(trace.trus[i]) : "";
    };
    const tip = element(holder, "div", "tip");
    tip.setAttribute("role", "status");

    const triangles = (u) => {
      const c = u.ctx, half = 4.5 * devicePixelRatio;
      c.save();
      for (const d of trace.decisions) {
        const px = u.valToPos(start + d.minute * 60, "x", true);
        if (px < u.bbox.left || px > u.bbox.left + u.bbox.width) continue;
        const up = d.to > d.from, y = u.valToPos(Math.max(d.to, d.from), "y", true) - 3 * devicePixelRatio;
        c.fillStyle = up ? "#1d2733" : "#5b6776";
        c.beginPath();
        c.moveTo(px, up ? y - 2 * half : y);
        c.lineTo(px - half, up ? y : y - 2 * half);
        c.lineTo(px + half, up ? y : y - 2 * half);
        c.fill();
      }
      c.restore();
    };
    const hover = (u) => {
      const left = u.cursor.left;
      read(left >= 0 ? u.cursor.idx : null);
      let nearest = null, best = 12;
      if (left >= 0) for (const d of trace.decisions) {
        const away = Math.abs(u.valToPos(start + d.minute * 60, "x") - left);
        if (away < best) { best = away; nearest = d; }
      }
      tip.style.display = nearest ? "block" : "none";
      if (!nearest) return;
      tip.textContent = when(start + nearest.minute * 60) + ": " + nearest.reason;
      tip.style.left = Math.max(0, Math.min(left + u.over.offsetLeft + 14, holder.clientWidth - tip.offsetWidth)) + "px";
      tip.style.top = plots[2].root.offsetTop - tip.offsetHeight - 4 + "px";
    };
    const zoomed = (u, key) => {
      if (key !== "x") return;
      const { min, max } = u.scales.x;
      for (const other of plots) if (other !== u && (other.scales.x.min !== min || other.scales.x.max !== max)) other.setScale("x", { min, max });
    };
    const splits = (u, i, min, max) => {
      const room = Math.max(2, u.bbox.width / devicePixelRatio / 70);
      const step = [300, 900, 3600, 10800, 21600, day, 2 * day, 7 * day].find((s) => (max - min) / s <= room) || 28 * day;
      const ticks = [];
      for (let t = Math.ceil(min / step) * step; t <= max; t += step) ticks.push(t);
      return ticks;
    };
    const heights = () => (phone() ? [200, 100, 150] : [260, 120, 180]);
    const pane = (index, label, series, values, more) => {
      const axis = { stroke: "#1d2733", grid: { stroke: "#e3e8ee", width: 1 }, ticks: { stroke: "#e3e8ee", width: 1 } };
      return new uPlot({
        width: width(), height: heights()[index],
        legend: { show: false },
        cursor: { drag: { x: true, y: false }, points: { show: false }, y: false,
          sync: { key: trace.id, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } } },
        scales: { x: { time: false }, y: { range: (u, min, max) => [0, Math.max(1, max || 0) * 1.08] }, ...more.scales },
        axes: [
          { ...axis, splits, space: 60, size: index === 2 ? 32 : 6, values: (u, ticks) => ticks.map(index === 2 ? tick : () => "") },
          { ...axis, label, labelSize: 20, labelFont: "12px system-ui, sans-serif", size: phone() ? 44 : 56,
            values: (u, ticks) => ticks.map((v) => (phone() && v >= 1000 ? v / 1000 + "k" : v.toLocaleString("en-US"))), ...more.axis },
        ],
        series: [{}, ...series],
        hooks: { setScale: [zoomed], ...more.hooks },
      }, [x, ...values], holder);
    };
    const stepped = uPlot.paths.stepped({ align: 1 });
    const highest = trace.ladder[trace.ladder.length - 1] || 1;
    plots.push(
      pane(0, "load, limit (actions/s)", [
        { stroke: colors.load, fill: "rgba(31,95,191,.18)", width: 1 },
        { stroke: colors.limit, width: 1.5, dash: [6, 3], paths: stepped },
      ], [trace.load, trace.limit], { hooks: { setCursor: [hover] } }),
      pane(1, "throttled/s", [{ stroke: colors.throttled, fill: "rgba(185,28,28,.25)", width: 1 }], [trace.throttled], { hooks: {} }),
      pane(2, "TRUs", [{ stroke: colors.capacity, fill: "rgba(21,128,61,.2)", width: 1.5, paths: stepped }], [trace.trus], {
        scales: { y: { range: () => [0, highest * 1.2] } },
        axis: { splits: () => [0, ...trace.ladder.filter((trus) => trus % 4 === 0 || trus === highest)] },
        hooks: { draw: [triangles] },
      }),
    );
    read(null);
    const fit = (to) => plots.forEach((plot, i) => plot.setSize({ width: to || width(), height: heights()[i] }));
    let fitted = width();
    new ResizeObserver(() => { if (width() !== fitted) { fitted = width(); fit(); } }).observe(holder);
    window.addEventListener("beforeprint", () => fit(680));
    window.addEventListener("afterprint", () => fit());
  }
  const tables = document.querySelectorAll("details.by-day");
  window.addEventListener("beforeprint", () => tables.forEach((table) => { table.dataset.open = table.open; table.open = true; }));
  window.addEventListener("afterprint", () => tables.forEach((table) => { table.open = table.dataset.open === "true"; }));
})();
