// The table of interviews: find, sort, open.

const $ = (id) => document.getElementById(id);

export class Cohort {
  constructor(overview, onOpen) {
    this.rows = overview.interviews;
    this.targets = overview.targets;
    this.onOpen = onOpen;
    this.sorting = { by: "interview", down: false };
    this.present = "";
    $("target").replaceChildren(...this.targets.map((name, i) => new Option(name, i)));
    $("target-label").hidden = !this.targets.length;
    $("estimate-head").hidden = !this.targets.length;
    $("find").addEventListener("input", () => this.draw());
    $("target").addEventListener("change", () => this.draw());
    for (const button of document.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.sort(button.dataset.sort));
    }
    this.draw();
  }

  sort(by) {
    this.sorting = { by, down: this.sorting.by === by && !this.sorting.down };
    for (const button of document.querySelectorAll("[data-sort]")) {
      const head = button.closest("th");
      if (button.dataset.sort !== by) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.sorting.down ? "descending" : "ascending");
    }
    this.draw();
  }

  setPresent(name) { this.present = name; this.draw(); }

  setMarked(name, count) {
    const row = this.rows.find((r) => r.interview === name);
    if (row) row.n_marked = count;
    this.draw();
  }

  estimate(row) { return row.estimates[Number($("target").value) || 0] ?? null; }

  value(row) { return this.sorting.by === "estimate" ? this.estimate(row) : row[this.sorting.by]; }

  draw() {
    const wanted = $("find").value.trim().toLowerCase();
    const shown = this.rows.filter((row) => row.interview.toLowerCase().includes(wanted));
    const sign = this.sorting.down ? -1 : 1;
    shown.sort((a, b) => {
      const [x, y] = [this.value(a), this.value(b)];
      // What is not known comes last, whatever the direction.
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true }));
    });
    $("rows").replaceChildren(...shown.map((row) => this.row(row)));
    $("count").textContent = `${shown.length} of ${this.rows.length} interviews`;
  }

  row(row) {
    const line = document.createElement("tr");
    line.classList.toggle("present", row.interview === this.present);
    const open = document.createElement("button");
    open.type = "button";
    open.textContent = row.interview;
    if (row.interview === this.present) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => this.onOpen(row.interview));
    const status = cell(row.status);
    status.classList.add("status");
    status.classList.toggle("status-other", row.status !== "ok");
    const name = cell(open);
    if (!row.video) {
      const note = document.createElement("span");
      note.className = "no-video";
      note.textContent = " no video";
      name.append(note);
    }
    const coverage = cell(row.face_coverage === null ? "" : ` ${Math.round(100 * row.face_coverage)} %`);
    if (row.face_coverage !== null) {
      const meter = document.createElement("meter");
      meter.value = row.face_coverage;
      meter.setAttribute("aria-hidden", "true");
      coverage.prepend(meter);
    }
    const marked = cell(row.n_marked ? `${row.n_marked} of ${row.n_segments}` : "");
    const cells = [name, status, coverage, marked];
    if (this.targets.length) {
      const estimate = this.estimate(row);
      cells.push(cell(estimate === null ? "none" : estimate.toFixed(1)));
      cells.at(-1).className = "number";
    }
    line.append(...cells);
    return line;
  }
}

function cell(content) {
  const made = document.createElement("td");
  made.append(content);
  return made;
}
