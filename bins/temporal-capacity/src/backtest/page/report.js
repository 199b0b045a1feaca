"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const two = (n) => String(n).padStart(2, "0");
  for (const trace of data) {
    const holder = document.getElementById(trace.id);
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    holder.appendChild(tip);
    const start = trace.first_minute * 60;
    const time = trace.first_minute > 0;
    const x = trace.load.map((_, i) => start + i * trace.step * 60);
    const when = (s) => {
      if (time) return new Date(s * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC";
      const minute = Math.round(s / 60);
      return "day " + (Math.floor(minute / 1440) + 1) + ", " + two(Math.floor(minute / 60) % 24) + ":" + two(minute % 60);
    };
    const day = (s) => (time ? new Date(s * 1000).toISOString().slice(5, 10) : "day " + (Math.floor(s / 86400) + 1));
    const show = (unit) => (u, v) => (v == null ? "-" : v.toLocaleString("en-US") + unit);
    const triangles = (u) => {
      const c = u.ctx;
      c.save();
      c.fillStyle = "#1d2733";
      for (const d of trace.decisions) {
        const px = u.valToPos(start + d.minute * 60, "x", true);
        if (px < u.bbox.left || px > u.bbox.left + u.bbox.width) continue;
        const size = 5 * devicePixelRatio, y = u.bbox.top + u.bbox.height, up = d.to > d.from;
        c.beginPath();
        c.moveTo(px, up ? y - 2 * size : y);
        c.lineTo(px - size, up ? y : y - 2 * size);
        c.lineTo(px + size, up ? y : y - 2 * size);
        c.fill();
      }
      c.restore();
    };
    const hover = (u) => {
      const left = u.cursor.left;
      let nearest = null, best = 12;
      if (left >= 0) for (const d of trace.decisions) {
        const away = Math.abs(u.valToPos(start + d.minute * 60, "x") - left);
        if (away < best) { best = away; nearest = d; }
      }
      tip.style.display = nearest ? "block" : "none";
      if (!nearest) return;
      tip.textContent = when(start + nearest.minute * 60) + ": " + nearest.reason;
      const at = left + u.over.offsetLeft;
      tip.style.left = Math.max(0, Math.min(at + 12, holder.clientWidth - 330)) + "px";
      tip.style.top = u.over.offsetTop + 8 + "px";
    };
    const width = () => Math.max(280, holder.clientWidth);
    const height = () => (width() < 600 ? 280 : 380);
    const plot = new uPlot({
      width: width(), height: height(),
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false }, t: { range: (u, min, max) => [0, Math.max(12, max || 0)] } },
      axes: [
        { values: (u, ticks) => ticks.map(day), splits: (u, i, min, max) => {
            const hour = 3600, span = max - min;
            const step = [hour, 6 * hour, 24 * hour, 48 * hour, 168 * hour].find((s) => span / s <= width() / 70) || 672 * hour;
            const ticks = [];
            for (let t = Math.ceil(min / step) * step; t <= max; t += step) ticks.push(t);
            return ticks; } },
        { label: "actions per second", size: 64, values: (u, ticks) => ticks.map((v) => v.toLocaleString("en-US")) },
        { scale: "t", side: 1, label: "TRUs", size: 44, grid: { show: false } },
      ],
      series: [
        { label: "Time", value: (u, v) => (v == null ? "-" : when(v)) },
        { label: "Load", stroke: "#1f5fbf", width: 1, value: show("/s") },
        { label: "Limit", stroke: "#1d2733", width: 1.5, dash: [6, 4], paths: uPlot.paths.stepped({ align: 1 }), value: show("/s") },
        { label: "Throttled", stroke: "#b91c1c", width: 1, fill: "rgba(185,28,28,.25)", value: show("/s") },
        { label: "Capacity", scale: "t", stroke: "#15803d", width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), value: (u, v) => (v == null ? "-" : v === 0 ? "on-demand" : v + " TRUs") },
      ],
      hooks: { draw: [triangles], setCursor: [hover] },
    }, [x, trace.load, trace.limit, trace.throttled, trace.trus], holder);
    new ResizeObserver(() => plot.setSize({ width: width(), height: height() })).observe(holder);
    window.addEventListener("beforeprint", () => plot.setSize({ width: 680, height: 320 }));
  }
})();
