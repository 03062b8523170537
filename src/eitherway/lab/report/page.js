// What the page can do beyond being read: values under the pointer, configurations switched off, commands copied.
(() => {
  "use strict";
  const told = JSON.parse(document.getElementById("told").textContent);
  const off = new Set();
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, content = "") => Object.assign(document.createElement(name), { textContent: content });
  document.documentElement.classList.add("js");

  // ---- the legend: press to hide or show, point at to see alone ----

  const mark = (name, chosen) => all(".series, .row").forEach((each) =>
    each.classList.toggle(name, chosen(Number(each.dataset.n))));
  for (const button of all("[data-switch]")) {
    const number = Number(button.dataset.switch);
    button.addEventListener("click", () => {
      if (!off.delete(number)) off.add(number);
      button.setAttribute("aria-pressed", String(!off.has(number)));
      mark("off", (each) => off.has(each));
    });
    button.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse" && !off.has(number)) mark("dim", (each) => each !== number);
    });
    button.addEventListener("pointerleave", () => mark("dim", () => false));
  }

  // ---- charts: the nearest place on the axis, and what all have there ----

  const tip = make("div");
  tip.className = "tip";
  tip.setAttribute("role", "status");
  let current = null; // {svg, index}

  const row = ([number, value, more]) => {
    const line = make("tr");
    const name = make("td", number < 0 ? more : told.names[number]);
    if (number >= 0) {
      const swatch = document.querySelector(`[data-switch="${number}"] svg`).cloneNode(true);
      name.prepend(swatch);
    }
    line.append(name, make("td", value));
    if (number >= 0 && more) line.append(make("td", more));
    return line;
  };

  const show = (svg, index) => {
    const chart = svg.closest(".chart");
    const at = svg.dataset.at.split(",").map(Number);
    index = Math.max(0, Math.min(at.length - 1, index));
    if (current && current.svg === svg && current.index === index) return;
    hide();
    current = { svg, index };
    const { heads, rows } = told.charts[chart.dataset.figure];
    const body = make("table");
    body.append(...rows[index].filter(([number]) => !off.has(number)).map(row));
    tip.replaceChildren(make("strong", heads[index]), body);
    chart.append(tip);
    const cross = svg.querySelector(".cross");
    const scale = svg.clientWidth / svg.viewBox.baseVal.width;
    const along = at[index] * scale;
    if (cross) {
      cross.setAttribute("x1", at[index]);
      cross.setAttribute("x2", at[index]);
      cross.classList.add("on");
    }
    const width = chart.clientWidth;
    const beside = along + 14 + tip.offsetWidth > width ? along - 14 - tip.offsetWidth : along + 14;
    const [left, top] = svg.dataset.axis === "y" ? [width - tip.offsetWidth - 8, along + 20]
      : width < 520 ? [along - tip.offsetWidth / 2, chart.clientHeight - 4] // below: a small chart would be covered
      : [beside, 30];
    tip.style.left = `${Math.max(0, Math.min(left, width - tip.offsetWidth))}px`;
    tip.style.top = `${top}px`;
  };

  const hide = () => {
    if (!current) return;
    current.svg.querySelector(".cross")?.classList.remove("on");
    current = null;
    tip.remove();
  };

  for (const svg of all("svg[data-at]")) {
    const at = svg.dataset.at.split(",").map(Number);
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const place = svg.dataset.axis === "x" ? event.clientX - box.left : event.clientY - box.top;
      const wanted = place * svg.viewBox.baseVal.width / box.width;
      const distance = (index) => Math.abs(at[index] - wanted);
      show(svg, at.reduce((best, _, index) => (distance(index) < distance(best) ? index : best), 0));
    };
    svg.addEventListener("pointermove", nearest);
    svg.addEventListener("pointerdown", nearest);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(svg, at.length - 1));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (event.key === "Escape") hide();
      if (!step) return;
      event.preventDefault();
      show(svg, current && current.svg === svg ? current.index + step : step > 0 ? 0 : at.length - 1);
    });
  }

  // ---- commands, and tables that are folded ----

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false;
    }
  };
  for (const button of all(".copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      getSelection().selectAllChildren(code); // where copying is refused, it is at least selected
      button.textContent = (await copy(code.textContent)) || document.execCommand("copy") ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
  addEventListener("beforeprint", () => all("details").forEach((each) => { each.open = true; }));
})();
