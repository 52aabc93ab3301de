"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();

  function look() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const series = [1, 2, 3, 4, 5, 6].map((index) => colour("series-" + index));
    const words = { labelColor: colour("quiet"), titleColor: colour("quiet"), titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12 };
    return {
      background: null,
      font: "system-ui, sans-serif",
      view: { stroke: null },
      axis: { ...words, domainColor: colour("line"), tickColor: colour("line"), gridColor: colour("grid"), labelOverlap: true },
      axisQuantitative: { tickCount: 8 },
      legend: { ...words, orient: "top", title: null },
      range: { category: series },
      mark: { color: series[0] },
      rule: { color: colour("quiet") },
      text: { color: colour("ink") },
    };
  }

  async function draw(figure) {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const options = { actions: false, renderer: "svg", config: look(), tooltip: { theme: dark.matches ? "dark" : "light" } };
    views.get(figure)?.finalize();
    views.set(figure, await vegaEmbed(figure.querySelector(".chart"), spec, options));
  }

  const drawAll = () => document.querySelectorAll("figure").forEach(draw);
  dark.addEventListener("change", drawAll);
  drawAll();
})();
