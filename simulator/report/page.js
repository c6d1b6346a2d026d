"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  // Buttons by name: Plotly's own set has one that sends a figure and its data to a server.
  const configOf = (...buttons) => ({ responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: [buttons] });
  const config = configOf("toImage", "zoom2d", "pan2d", "select2d", "lasso2d", "resetScale2d");
  const plain = configOf("toImage");
  const shownRows = 100;
  const place = new Map(data.rows.map((row, index) => [row, index]));
  const figures = Object.entries(data.figures);
  const isScatter = (figure) => figure.data.some((trace) => trace.customdata && trace.mode === "markers");
  const scatters = figures.filter(([, figure]) => isScatter(figure));
  const sensitivities = figures.filter(([id]) => id.startsWith("alone-") || id.startsWith("variance-"));
  const lines = data.figures.parallel.data[0];
  const brushes = lines.dimensions.map(() => null);
  const chosen = { chip: "", work: "", picked: null };
  const sorting = { column: null, down: false };

  const ofMenus = (index) =>
    (!chosen.chip || data.chip[index] === chosen.chip) && (!chosen.work || data.work[index] === chosen.work);
  const ofPicks = (index) => !chosen.picked || chosen.picked.has(index);
  const ofBrushes = (index) =>
    brushes.every((ranges, dimension) => {
      if (!ranges) return true;
      const value = lines.dimensions[dimension].values[index];
      return ranges.some(([low, high]) => low <= value && value <= high);
    });
  const visible = () => data.rows.map((_, index) => ofMenus(index) && ofPicks(index) && ofBrushes(index));

  // Of a trace of points keep those that are chosen; lines of fronts follow the menus alone.
  const kept = (trace, mask) => {
    if (trace.meta && trace.meta.chip !== undefined) {
      const hidden = (chosen.chip && trace.meta.chip !== chosen.chip) || (chosen.work && trace.meta.work !== chosen.work);
      return { ...trace, visible: !hidden };
    }
    if (trace.mode !== "markers" || !trace.customdata) return trace;
    const which = trace.customdata.map((row) => place.get(row));
    const few = (values) => values.filter((_, position) => mask[which[position]]);
    const marker = { ...trace.marker };
    for (const key of ["color", "opacity"]) if (Array.isArray(marker[key])) marker[key] = few(marker[key]);
    return {
      ...trace, marker, x: few(trace.x), y: few(trace.y), customdata: few(trace.customdata),
      text: few(which).map((index) => data.hover[index]), selectedpoints: null,
    };
  };

  const drawScatter = (id, figure, mask) => {
    const layout = { ...figure.layout, selections: [] };
    Plotly.react(id, figure.data.map((trace) => kept(trace, mask)), layout, config);
    listen(id, {
      plotly_selected: (event) => {
        const points = event ? event.points.filter((point) => point.customdata !== undefined) : [];
        if (!points.length) return;
        chosen.picked = new Set(points.map((point) => place.get(point.customdata)));
        update(true);
      },
      plotly_deselect: () => {
        if (!chosen.picked) return;
        chosen.picked = null;
        update(true);
      },
    });
  };

  const listen = (id, handlers) => {
    if (at(id).dataset.listens) return;
    at(id).dataset.listens = "true";
    for (const [name, handler] of Object.entries(handlers)) at(id).on(name, handler);
  };

  const drawLines = () => {
    const mask = data.rows.map((_, index) => ofMenus(index) && ofPicks(index));
    const few = (values) => values.filter((_, index) => mask[index]);
    const dimensions = lines.dimensions.map((dimension, number) => {
      const ranges = brushes[number];
      const low = Math.min(...dimension.values), high = Math.max(...dimension.values);
      const all = dimension.range || (low < high ? [low, high] : undefined);
      return {
        ...dimension, values: few(dimension.values), range: all,
        constraintrange: ranges ? (ranges.length === 1 ? ranges[0] : ranges) : undefined,
      };
    });
    const colours = lines.line.color;
    const line = { ...lines.line, color: few(colours), cmin: Math.min(...colours), cmax: Math.max(...colours) };
    const layout = data.figures.parallel.layout;
    Plotly.react("parallel", [{ ...lines, dimensions, line }], layout, plain);
    listen("parallel", {
      plotly_restyle: () => {
        at("parallel").data[0].dimensions.forEach((dimension, number) => {
          const range = dimension.constraintrange;
          brushes[number] = !range || !range.length ? null : Array.isArray(range[0]) ? range : [range];
        });
        update(false);
      },
    });
  };

  const hideSensitivities = () => {
    for (const [id] of sensitivities) {
      const pair = at(id).closest(".pair");
      pair.hidden = (chosen.chip && pair.dataset.chip !== chosen.chip) || (chosen.work && pair.dataset.work !== chosen.work);
    }
  };

  // Figures are drawn one after the other, those in view first, so that the page answers in between.
  let waiting = [];
  let timer = null;
  const step = () => {
    const next = waiting.shift();
    timer = next ? setTimeout(step) : null;
    if (next) next.draw();
    else document.documentElement.dataset.ready = "true";
  };
  const draw = (tasks) => {
    document.documentElement.dataset.ready = "false";
    const distance = ({ id }) => {
      const box = at(id).getBoundingClientRect();
      return Math.max(0, -box.bottom, box.top - innerHeight);
    };
    const far = new Map(tasks.map((task) => [task, distance(task)]));
    const ids = new Set(tasks.map(({ id }) => id));
    waiting = [...tasks.sort((a, b) => far.get(a) - far.get(b)), ...waiting.filter(({ id }) => !ids.has(id))];
    if (timer === null) timer = setTimeout(step);
  };

  const cell = (row, kind, text, number) => {
    const made = document.createElement(kind);
    made.textContent = text;
    if (number) made.className = "number";
    row.append(made);
    return made;
  };
  const several = (values) => new Set(values).size > 1;
  const columns = [
    { label: "front", values: data.front, texts: data.front.map((rank) => ["", "●", "★"][rank]) },
    ...(several(data.chip) ? [{ label: "chip", values: data.chip, texts: data.chip }] : []),
    ...(several(data.work) ? [{ label: "work", values: data.work, texts: data.work }] : []),
    ...data.columns,
  ];
  const isNumber = (column) => column.label !== "front" && column.values.some((value) => typeof value === "number");

  const drawHead = () => {
    const row = document.createElement("tr");
    for (const column of columns) {
      const head = cell(row, "th", "", isNumber(column)), button = document.createElement("button");
      const sorted = sorting.column === column;
      button.type = "button";
      button.textContent = column.label + (sorted ? (sorting.down ? " ↓" : " ↑") : "");
      head.setAttribute("aria-sort", sorted ? (sorting.down ? "descending" : "ascending") : "none");
      button.onclick = () => {
        sorting.down = sorted ? !sorting.down : false;
        sorting.column = column;
        drawHead();
        drawTable(visible());
      };
      head.append(button);
    }
    at("points").tHead.replaceChildren(row);
  };

  sorting.column = columns.find((column) => column.label === data.sorted) || null;

  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = a < b ? -1 : a > b ? 1 : 0;
    return sorting.down ? -order : order;
  };

  const drawTable = (mask) => {
    const front = at("only-front").checked;
    const found = data.rows.map((_, index) => index).filter((index) => mask[index] && (!front || data.front[index]));
    const by = sorting.column ? sorting.column.values : null;
    if (by) found.sort((a, b) => compare(by[a], by[b]));
    const body = document.createDocumentFragment();
    for (const index of found.slice(0, shownRows)) {
      const row = document.createElement("tr");
      for (const column of columns) cell(row, "td", column.texts[index], isNumber(column));
      body.append(row);
    }
    at("points").tBodies[0].replaceChildren(body);
    const rest = found.length - shownRows;
    at("more").textContent =
      rest > 0 ? `And ${rest.toLocaleString("en")} more.` : found.length ? "" : "None of the points shown is on a front.";
    if (!found.length && !front) at("more").textContent = "No point is chosen.";
  };

  const update = (withLines) => {
    const mask = visible();
    const count = mask.filter(Boolean).length;
    at("count").textContent = `${count.toLocaleString("en")} of ${mask.length.toLocaleString("en")} points`;
    const brushed = brushes.filter(Boolean).length;
    at("why").textContent = [
      brushed ? `chosen on ${brushed} ${brushed > 1 ? "axes" : "axis"}` : "",
      chosen.picked ? `${chosen.picked.size.toLocaleString("en")} picked` : "",
    ].filter(Boolean).join(", ");
    at("clear").disabled = !(brushed || chosen.picked || chosen.chip || chosen.work);
    drawTable(mask);
    hideSensitivities();
    draw([
      ...scatters.map(([id, figure]) => ({ id, draw: () => drawScatter(id, figure, mask) })),
      ...(withLines ? [{ id: "parallel", draw: drawLines }] : []),
      ...sensitivities
        .filter(([id]) => !at(id).data && !at(id).closest(".pair").hidden)
        .map(([id, figure]) => ({ id, draw: () => Plotly.newPlot(id, figure.data, figure.layout, plain) })),
    ]);
  };

  for (const name of ["chip", "work"]) {
    at(name).onchange = (event) => {
      chosen[name] = event.target.value;
      update(true);
    };
  }
  at("only-front").onchange = () => drawTable(visible());
  at("filter").onsubmit = (event) => event.preventDefault();
  at("clear").onclick = () => {
    brushes.fill(null);
    Object.assign(chosen, { chip: "", work: "", picked: null });
    at("chip").value = at("work").value = "";
    update(true);
  };

  drawHead();
  update(true);
})();
