"use strict";
// Nothing here is needed to read the numbers: it sorts and filters tables and draws the single cases.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, parent) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const data = JSON.parse($("#points").textContent);
  const teams = data.teams, cases = data.cases;
  const PENALIZED = new Set(["missing", "invalid", "crashed", "timeout"]);
  const WHERE = { low: -12, high: 12 };  // pixels by which a canvas is wider than its plot
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const short = (value) => {
    if (Number.isNaN(value)) return "no value";
    if (!Number.isFinite(value)) return value > 0 ? "infinite" : "minus infinite";
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
  };

  // --- numbers ---------------------------------------------------------------------------------
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const column = (index) => {
    const own = data.columns[index];
    if (typeof own.values === "string") {
      const view = new DataView(bytes(own.values).buffer);
      own.values = Float32Array.from({ length: view.byteLength / 4 }, (_, at) => view.getFloat32(4 * at, true));
      own.codes = own.status ? bytes(own.status) : null;
    }
    return own;
  };
  const statusOf = (own, at) => (own.codes ? data.statuses[own.codes[at]] ?? "absent" : "ok");
  const along = (own, value) => {
    const bend = own.bent ? Math.asinh : (number) => number;
    const low = bend(own.low), high = bend(own.high);
    const share = high > low ? (bend(value) - low) / (high - low) : 0.5;
    return Math.min(Math.max(share, 0), 1);
  };
  const says = (own, team, at) => {
    const index = team * cases.length + at;
    const status = statusOf(own, index);
    return `${teams[team]}, ${cases[at]}\n${own.name}: ${short(own.values[index])}${status === "ok" ? "" : ` (${status})`}`;
  };

  // --- the tip and the marked case ---------------------------------------------------------------
  const tip = $("#tip");
  const tell = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = !text;
    if (!text) return;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - box.width - 4))}px`;
    tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
  };
  let marked = -1;
  const redraws = new Map();  // plot -> draw, of those that have been seen
  const redrawAll = () => { for (const redraw of redraws.values()) redraw(); };
  const mark = (at) => {
    marked = at;
    $("#finder input").value = at < 0 ? "" : cases[at];
    for (const row of $$("tr.marked")) row.classList.remove("marked");
    if (at >= 0) for (const cell of $$("td.case")) if (cell.textContent === cases[at]) cell.parentElement.classList.add("marked");
    redrawAll();
  };

  // --- dots of single cases ----------------------------------------------------------------------
  const jitter = (at) => ((at * 2654435761) % 1024) / 1024 - 0.5;
  const sized = (canvas, width, height) => {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    return pen;
  };
  const dots = (plot) => {
    const own = column(Number(plot.dataset.points)), row = Number(plot.dataset.row);
    const canvas = make("canvas", undefined, plot);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${own.name}, a dot a case: arrow keys go from case to case and from team to team`);
    let places = new Float32Array(0);
    let at = [0, -1];  // of the keyboard: team, case
    const draw = () => {
      const width = plot.clientWidth;
      if (!width) return;
      const many = cases.length > 150;
      const radius = many ? 1.8 : 3.2;
      const pen = sized(canvas, width + 24, teams.length * row);
      places = new Float32Array(2 * own.values.length);
      const blue = color("--blue"), orange = color("--orange"), ink = color("--ink"), page = color("--page");
      const dot = (index, size) => {
        const x = places[2 * index], y = places[2 * index + 1], status = statusOf(own, index);
        pen.beginPath();
        if (PENALIZED.has(status)) {
          pen.strokeStyle = orange;
          pen.lineWidth = 1.5;
          pen.moveTo(x - size, y - size); pen.lineTo(x + size, y + size);
          pen.moveTo(x - size, y + size); pen.lineTo(x + size, y - size);
          pen.stroke();
          return;
        }
        pen.arc(x, y, size, 0, 7);
        pen.globalAlpha = many ? 0.45 : 0.75;
        pen.fillStyle = status === "ok" ? blue : page;
        pen.fill();
        pen.globalAlpha = 1;
        if (status !== "ok") { pen.strokeStyle = blue; pen.lineWidth = 1; pen.stroke(); }
      };
      for (let index = 0; index < own.values.length; index++) {
        const team = Math.floor(index / cases.length), which = index % cases.length;
        const lost = Number.isNaN(own.values[index]);
        places[2 * index] = lost ? NaN : 12 + along(own, own.values[index]) * width;
        places[2 * index + 1] = (team + 0.5 + 0.62 * jitter(which)) * row;
        if (!lost) dot(index, radius);
      }
      if (marked < 0) return;
      for (let team = 0; team < teams.length; team++) {
        const index = team * cases.length + marked;
        if (Number.isNaN(places[2 * index])) continue;
        pen.beginPath();
        pen.arc(places[2 * index], places[2 * index + 1], 6.5, 0, 7);
        pen.strokeStyle = ink; pen.lineWidth = 2; pen.stroke();
        dot(index, 3.5);
      }
    };
    const nearest = (x, y) => {
      let best = -1, least = 144;
      for (let index = 0; index < own.values.length; index++) {
        const distance = (places[2 * index] - x) ** 2 + (places[2 * index + 1] - y) ** 2;
        if (distance < least) { least = distance; best = index; }
      }
      return best;
    };
    const pointed = (event) => {
      const box = canvas.getBoundingClientRect();
      return nearest(event.clientX - box.left, event.clientY - box.top);
    };
    canvas.addEventListener("pointermove", (event) => {
      const index = pointed(event);
      canvas.style.cursor = index < 0 ? "" : "pointer";
      tell(index < 0 ? "" : says(own, Math.floor(index / cases.length), index % cases.length), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => tell(""));
    canvas.addEventListener("click", (event) => {
      const index = pointed(event);
      mark(index < 0 || index % cases.length === marked ? -1 : index % cases.length);
    });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
      if (event.key === "Escape") { mark(-1); tell(""); return; }
      if (!(event.key in steps)) return;
      event.preventDefault();
      const [down, right] = steps[event.key];
      const limit = (number, count) => Math.min(Math.max(number, 0), count - 1);
      at = [limit(at[0] + down, teams.length), limit(at[1] + right, cases.length)];
      mark(at[1]);
      const box = canvas.getBoundingClientRect(), index = at[0] * cases.length + at[1];
      tell(says(own, ...at), box.left + (places[2 * index] || 0), box.top + places[2 * index + 1]);
    });
    canvas.addEventListener("blur", () => tell(""));
    redraws.set(plot, draw);
    draw();
  };

  // On paper the dots are part of the picture below them, which stretches to the width of the paper.
  const MOST_ON_PAPER = 3000;
  const printed = (plot) => {
    const own = column(Number(plot.dataset.points)), row = Number(plot.dataset.row);
    if (own.values.length > MOST_ON_PAPER) return;
    const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
    group.classList.add("printed");
    own.values.forEach((value, index) => {
      if (Number.isNaN(value)) return;
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      const status = statusOf(own, index);
      dot.setAttribute("class", PENALIZED.has(status) ? "case lost" : status === "ok" ? "case" : "case ruled");
      dot.setAttribute("cx", `${100 * along(own, value)}%`);
      dot.setAttribute("cy", (Math.floor(index / cases.length) + 0.5 + 0.62 * jitter(index % cases.length)) * row);
      dot.setAttribute("r", 2.5);
      group.append(dot);
    });
    $("svg", plot).append(group);
  };

  // --- the podium plot ---------------------------------------------------------------------------
  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const hue = (team) => color(["--blue", "--orange", "--green", "--purple", "--amber", "--sky", "--ink", "--soft"][team % 8]);
  let podiumDrawn = false;
  const podium = () => {
    if (podiumDrawn) return;
    podiumDrawn = true;
    const choice = $("#podium-column"), canvas = $("#podium-canvas"), figure = $("#podium-plot");
    for (const index of choice.dataset.columns.split(" ")) {
      const option = make("option", data.columns[index].name, choice);
      option.value = index;
    }
    figure.hidden = false;
    const shown = Math.min(teams.length, 10);
    const key = $("#podium-key");
    teams.forEach((team, at) => {
      const item = make("li", undefined, key);
      const letter = make("b", `${LETTERS[at % 26]}${at < 26 ? "" : Math.floor(at / 26)} `, item);
      letter.className = `line${at % 8}`;
      item.append(team);
    });
    let spots = [];
    const draw = () => {
      const own = column(Number(choice.value));
      const width = canvas.parentElement.clientWidth, high = 240, low = 80;
      if (!width) return;
      canvas.parentElement.style.height = `${high + low + 40}px`;
      const pen = sized(canvas, width + 24, high + low + 40);
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "center";
      const soft = color("--soft"), line = color("--line");
      const wide = (width - 40) / shown;
      const counts = teams.map(() => new Array(shown).fill(0));
      spots = [];
      pen.strokeStyle = line;
      for (let place = 0; place < shown; place++) {
        pen.fillStyle = soft;
        pen.fillText(`place ${place + 1}`, 52 + (place + 0.5) * wide, high + low + 36);
        pen.beginPath(); pen.moveTo(52 + place * wide, 6); pen.lineTo(52 + place * wide, high + low + 20); pen.stroke();
      }
      pen.textAlign = "left";
      for (const share of [0, 0.5, 1]) {
        const bend = own.bent ? Math.sinh : (number) => number, unbend = own.bent ? Math.asinh : (number) => number;
        const value = bend(unbend(own.low) + share * (unbend(own.high) - unbend(own.low)));
        pen.fillText(short(Number(value.toPrecision(2))), 12, 16 + (1 - share) * (high - 20));
      }
      // A team that has no number at all would leave no case in which to compare the others.
      const able = teams.map((_, team) => team).filter((team) => own.values.subarray(team * cases.length, (team + 1) * cases.length).some((value) => !Number.isNaN(value)));
      const cost = (value) => (own.absolute ? Math.abs(value) : own.smaller ? value : -value);
      let usable = 0;
      const path = new Path2D();
      for (let at = 0; at < cases.length; at++) {
        const order = able.map((team) => [own.values[team * cases.length + at], team]);
        if (order.some(([value]) => Number.isNaN(value))) continue;
        usable++;
        order.sort((one, other) => cost(one[0]) - cost(other[0]) || one[1] - other[1]);  // inf - inf is NaN
        order.slice(0, shown).forEach(([value, team], place) => {
          const x = 52 + (place + 0.15 + 0.7 * ((team + 0.5) / teams.length)) * wide;
          const y = 12 + (1 - along(own, value)) * (high - 20);
          if (place) path.lineTo(x, y); else path.moveTo(x, y);
          spots.push([x, y, team, at]);
          counts[team][place]++;
        });
      }
      pen.globalAlpha = cases.length > 100 ? 0.15 : 0.5;
      pen.strokeStyle = soft;
      pen.stroke(path);
      pen.globalAlpha = 0.8;
      for (const [x, y, team, at] of spots) {
        pen.beginPath();
        pen.arc(x, y, at === marked ? 6 : cases.length > 100 ? 2 : 3.5, 0, 7);
        pen.fillStyle = hue(team);
        pen.fill();
      }
      pen.globalAlpha = 1;
      pen.textAlign = "center";
      const thick = Math.max(1, Math.min(14, (0.7 * wide) / teams.length - 1));
      const most = Math.max(1, ...counts.flat());
      counts.forEach((places, team) => places.forEach((count, place) => {
        if (!count) return;
        const x = 52 + (place + 0.15 + 0.7 * ((team + 0.5) / teams.length)) * wide, tall = (count / most) * (low - 16);
        pen.fillStyle = hue(team);
        pen.fillRect(x - thick / 2, high + low + 18 - tall, thick, tall);
        if (thick > 8) pen.fillText(LETTERS[team % 26], x, high + low + 13 - tall);
      }));
      const best = counts.map((places, team) => [places[0], teams[team]]).sort((one, other) => other[0] - one[0])[0];
      canvas.setAttribute("aria-label", `Podium plot of ${own.name}: ${best[1]} is first in ${best[0]} of ${usable} cases`);
    };
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      let best = null, least = 100;
      for (const spot of spots) {
        const distance = (spot[0] - x) ** 2 + (spot[1] - y) ** 2;
        if (distance < least) { least = distance; best = spot; }
      }
      tell(best ? says(column(Number(choice.value)), best[2], best[3]) : "", event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => tell(""));
    choice.addEventListener("change", draw);
    redraws.set(canvas.parentElement, draw);
    draw();
  };

  // --- tables ------------------------------------------------------------------------------------
  const number = (text) => (text === "" || text === "nan" ? NaN : Number(text.replace("inf", "Infinity")));
  const collator = new Intl.Collator(undefined, { numeric: true });
  const sortable = (table) => {
    const heads = $$("thead th", table);
    heads.forEach((head, at) => {
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = head.classList.contains("text");
        const keys = new Map();
        for (const row of table.tBodies[0].rows) {
          const cell = row.cells[at], value = cell.dataset.value;
          keys.set(row, text || value === undefined ? cell.textContent : number(value));
        }
        const compare = (one, other) => {
          if (typeof one === "string") return down ? collator.compare(other, one) : collator.compare(one, other);
          if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);  // empty last
          return down ? other - one : one - other;
        };
        const rows = [...keys.keys()].sort((one, other) => compare(keys.get(one), keys.get(other)));
        table.tBodies[0].append(...rows);
      });
    });
  };
  const filterable = (listing) => {
    const table = $("table", listing), rows = [...table.tBodies[0].rows];
    if (rows.length < 6) return;
    listing.classList.toggle("long", rows.length > 14);
    const line = make("p");
    line.className = "filter";
    const label = make("label", "Filter ", line);
    const input = make("input", undefined, label);
    input.autocomplete = "off";
    const count = make("span", `${rows.length} rows`, line);
    count.setAttribute("role", "status");
    listing.prepend(line);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        left += !row.hidden;
      }
      count.textContent = `${left} of ${rows.length} rows`;
    });
  };
  const valuesTable = (details) => {
    const own = column(Number(details.dataset.points));
    const order = [...own.values.keys()].filter((index) => statusOf(own, index) !== "absent");
    const listing = make("div", undefined, details);
    listing.className = "listing long";
    const line = make("p", undefined, listing);
    line.className = "filter";
    const input = make("input", undefined, make("label", "Filter ", line));
    const count = make("span", "", line);
    const scroll = make("div", undefined, listing);
    scroll.className = "scroll";
    const table = make("table", undefined, scroll);
    const head = make("tr", undefined, make("thead", undefined, table));
    for (const name of ["team", "case", own.name, "status"]) make("th", name, head).className = name === own.name ? "" : "text";
    const body = make("tbody", undefined, table);
    const most = 500;
    const fill = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      const fits = order.filter((index) => {
        const text = `${teams[Math.floor(index / cases.length)]} ${cases[index % cases.length]} ${statusOf(own, index)}`.toLowerCase();
        return words.every((word) => text.includes(word));
      });
      body.replaceChildren();
      for (const index of fits.slice(0, most)) {
        const row = make("tr", undefined, body);
        make("td", teams[Math.floor(index / cases.length)], row).className = "text";
        make("td", cases[index % cases.length], row).className = "text";
        make("td", short(own.values[index]), row);
        make("td", statusOf(own, index), row).className = "text";
      }
      count.textContent = fits.length > most ? `the first ${most} of ${fits.length}; filter by team or case` : `${fits.length} rows`;
    };
    input.addEventListener("input", fill);
    fill();
  };

  // --- start -------------------------------------------------------------------------------------
  const theme = $("#theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    redrawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  for (const table of $$("table.sortable")) sortable(table);
  for (const listing of $$(".listing")) filterable(listing);

  const plots = $$(".plot[data-points]");
  const drawn = new WeakSet();
  const show = (plot) => {
    if (drawn.has(plot)) return;
    drawn.add(plot);
    dots(plot);
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { show(entry.target); seen.unobserve(entry.target); }
  }, { rootMargin: "200px" });
  for (const plot of plots) seen.observe(plot);
  if ($("#podium-column")) {
    const later = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { later.disconnect(); podium(); }
    }, { rootMargin: "200px" });
    $("#podium-plot").hidden = false;
    later.observe($("#podium-plot"));
  }
  // What changed while a plot had no width.
  for (const details of $$("details.column")) details.addEventListener("toggle", () => { for (const plot of $$(".plot", details)) redraws.get(plot)?.(); });
  for (const details of $$("details.values")) details.addEventListener("toggle", () => valuesTable(details), { once: true });

  if (cases.length) {
    const finder = $("#finder");
    finder.hidden = false;
    for (const name of cases) make("option", undefined, $("#case-names")).value = name;
    $("input", finder).addEventListener("change", (event) => mark(cases.indexOf(event.target.value)));
  }
  const columns = $$("details.column[data-column]");
  if (columns.length > 4) {
    $("#chooser").hidden = false;
    const ranked = columns.map((one) => one.open);
    $("#only").addEventListener("input", (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      columns.forEach((one, at) => {
        one.hidden = !words.every((word) => one.dataset.column.toLowerCase().includes(word));
        one.open = words.length ? !one.hidden : ranked[at];
      });
    });
  }
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redrawAll, 150);
  });
  let before;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    if ($("#podium-column")) podium();
    redrawAll();
    for (const plot of plots) if (plot.offsetParent) printed(plot);
  });
  addEventListener("afterprint", () => {
    if (before) document.documentElement.dataset.theme = before; else delete document.documentElement.dataset.theme;
    for (const group of $$("svg .printed")) group.remove();
    redrawAll();
  });
})();
