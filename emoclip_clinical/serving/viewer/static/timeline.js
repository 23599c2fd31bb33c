// Scores, coverage, moments and marks of one interview over its time; a place and a stretch in it.

const NS = "http://www.w3.org/2000/svg";
// Colours after Okabe and Ito, which people of any colour vision tell apart; then dashes.
const COLOURS = 8;
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const SCORES = { top: 8, height: 150 };
const MOMENTS = { top: 164, height: 14 };
const COVERAGE = { top: 182, height: 26 };
const HEIGHT = 232;
const EDGE = 30;
const NARROWEST = 0.1;

export function clock(seconds) {
  const tenths = Math.round(Math.max(0, seconds) * 10);
  const [hours, minutes] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60];
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function make(tag, attributes, text = "") {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

export class Timeline {
  constructor(box, legend, { onSeek, onChoose }) {
    Object.assign(this, { box, legend, onSeek, onChoose });
    this.segments = [];
    this.hidden = new Set();
    this.scale = 1;
    this.time = 0;
    this.chosen = null;
    box.addEventListener("pointerdown", (event) => this.press(event));
    box.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => { this.pressed = null; });
    new ResizeObserver(() => { if (this.box.clientWidth !== this.width) this.draw(); }).observe(box);
  }

  get first() { return this.segments[0]?.onset ?? 0; }

  get last() { return this.segments.reduce((end, s) => Math.max(end, s.onset + s.duration), 0); }

  show(found) {
    Object.assign(this, { segments: found.segments, sets: found.sets, marks: found.marks, moments: [] });
    Object.assign(this, { set: 0, scale: 1, time: this.first, chosen: null });
    this.hidden.clear();
    this.draw();
    this.box.scrollLeft = 0;
    this.drawLegend();
  }

  useSet(number) { this.set = number; this.hidden.clear(); this.draw(); this.drawLegend(); }

  showMarks(marks) { this.marks = marks; this.draw(); }

  showMoments(moments) { this.moments = moments; this.draw(); }

  // The number of the segment at a time: the last one that has begun.
  placeAt(time) {
    let place = 0;
    this.segments.forEach((s, i) => { if (s.onset <= time + 1e-6) place = i; });
    return place;
  }

  onsetOf(place) { return this.segments[place].onset; }

  neighbour(time, by) {
    if (!this.segments.length) return null;
    return Math.min(this.segments.length - 1, Math.max(0, this.placeAt(time) + by));
  }

  get stretch() {
    if (!this.segments.length) return null;
    const [a, b] = this.chosen ?? [this.placeAt(this.time), this.placeAt(this.time)];
    const part = this.segments.slice(Math.min(a, b), Math.max(a, b) + 1);
    const onset = part[0].onset;
    const end = Math.max(...part.map((s) => s.onset + s.duration));
    // Windows may overlap: all that lie in the stretch are left out, not only those chosen.
    const touched = this.segments.filter((s) => s.onset < end - 1e-6 && s.onset + s.duration > onset + 1e-6);
    return { onset, duration: end - onset, count: touched.length };
  }

  extendTo(place) {
    this.chosen = [this.chosen?.[0] ?? this.placeAt(this.time), place];
    this.drawChosen();
    this.onChoose();
  }

  choose(chosen) { this.chosen = chosen; this.drawChosen(); this.onChoose(); }

  zoom(factor) {
    const middle = this.timeAtX(this.box.scrollLeft + this.box.clientWidth / 2);
    this.scale = Math.min(64, Math.max(1, this.scale * factor));
    this.draw();
    this.box.scrollLeft = this.x(middle) - this.box.clientWidth / 2;
  }

  x(time) { return EDGE + (time - this.first) * this.perSecond; }

  y(value) {
    const [low, high] = this.range;
    return SCORES.top + (SCORES.height * (high - value)) / (high - low);
  }

  // The scores' own range, since those of many classes all lie low; never so narrow that noise looks like change.
  findRange() {
    const values = (this.sets[this.set]?.values ?? []).flat().filter((v) => v !== null);
    const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [1, 0]);
    const spare = Math.max(0, NARROWEST - (high - low)) / 2;
    const down = Math.max(0, Math.floor((low - spare) * 20) / 20);
    this.range = values.length ? [down, Math.min(1, Math.ceil((high + spare) * 20) / 20)] : [0, 1];
  }

  timeAtX(x) { return Math.min(this.last, Math.max(this.first, this.first + (x - EDGE) / this.perSecond)); }

  draw() {
    this.width = this.box.clientWidth;
    if (!this.segments.length || !this.width) { this.box.replaceChildren(); return; }
    const inner = Math.max(120, (this.width - EDGE - 8)) * this.scale;
    this.perSecond = inner / Math.max(0.1, this.last - this.first);
    const whole = inner + EDGE + 8;
    this.findRange();
    const svg = make("svg", { width: whole, height: HEIGHT, "aria-hidden": "true" });
    this.drawAxes(svg, whole);
    this.drawQuality(svg);
    this.drawScores(svg);
    this.drawMoments(svg);
    this.drawMarks(svg);
    this.selection = svg.appendChild(make("rect", { class: "chosen", y: 2, height: HEIGHT - 22 }));
    this.head = svg.appendChild(make("line", { class: "head", y1: 0, y2: HEIGHT - 18 }));
    this.box.replaceChildren(svg);
    this.drawChosen();
    this.moveHead(this.time);
  }

  drawAxes(svg, whole) {
    const [low, high] = this.range;
    for (const level of [low, (low + high) / 2, high]) {
      const y = this.y(level);
      svg.append(make("line", { class: "axis", x1: EDGE, x2: whole, y1: y, y2: y }));
      svg.append(make("text", { x: 3, y: y + 4 }, String(Number(level.toFixed(3))).replace(/^0\./, ".")));
    }
    const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((s) => s * this.perSecond >= 70) ?? 7200;
    for (let t = Math.ceil(this.first / step) * step; t <= this.last; t += step) {
      svg.append(make("line", { class: "axis", x1: this.x(t), x2: this.x(t), y1: SCORES.top, y2: HEIGHT - 18 }));
      if (this.x(t) > whole - 36) continue;
      svg.append(make("text", { x: this.x(t) + 2, y: HEIGHT - 5 }, clock(t).replace(/\.0$/, "")));
    }
    svg.append(make("text", { x: 4, y: COVERAGE.top + 17 }, "face"));
  }

  drawQuality(svg) {
    for (const s of this.segments) {
      const [x, width] = [this.x(s.onset), Math.max(0.5, s.duration * this.perSecond - 0.5)];
      if (s.status !== "ok") {
        const gone = make("rect", { class: "gone", x, width, y: SCORES.top, height: SCORES.height });
        gone.append(make("title", {}, `${s.status}${s.reason ? `: ${s.reason}` : ""}`));
        svg.append(gone);
      }
      const height = COVERAGE.height * (s.face_coverage ?? 0);
      svg.append(make("rect", { class: "coverage", x, width, height, y: COVERAGE.top + COVERAGE.height - height }));
    }
  }

  drawScores(svg) {
    const set = this.sets[this.set];
    set?.classes.forEach((name, k) => {
      if (this.hidden.has(k)) return;
      let path = "";
      let before = null;
      this.segments.forEach((s, i) => {
        const value = set.values[k][i];
        if (value === null || value === undefined) { before = null; return; }
        const y = this.y(value);
        // A line joins neighbours only: where the face was not seen, nothing is drawn.
        if (before !== null && this.segments[before].segment + 1 === s.segment) {
          path += `L${this.x(s.onset + s.duration / 2).toFixed(1)} ${y.toFixed(1)}`;
        } else {
          path += `M${this.x(s.onset).toFixed(1)} ${y.toFixed(1)}L${this.x(s.onset + s.duration / 2).toFixed(1)} ${y.toFixed(1)}`;
        }
        before = i;
      });
      svg.append(make("path", { d: path || "M0 0", ...stroke(k) }));
    });
  }

  drawMoments(svg) {
    for (const moment of this.moments) {
      const [x, y] = [this.x(moment.onset + moment.duration / 2), MOMENTS.top];
      const up = moment.influence > 0;
      const points = up ? `${x - 6},${y + 12} ${x + 6},${y + 12} ${x},${y}` : `${x - 6},${y} ${x + 6},${y} ${x},${y + 12}`;
      const mark = make("polygon", { points, class: up ? "up" : "down" });
      mark.append(make("title", {}, `${up ? "+" : "−"}${Math.abs(moment.influence).toPrecision(2)} points`));
      svg.append(mark);
    }
  }

  drawMarks(svg) {
    for (const mark of this.marks) {
      const rows = this.segments.filter((s) => mark.segments.includes(s.segment));
      const x = this.x(rows[0].onset);
      const width = this.x(Math.max(...rows.map((s) => s.onset + s.duration))) - x;
      svg.append(make("rect", { class: "left-out", x, width, y: SCORES.top, height: HEIGHT - 26 }));
      svg.append(make("line", { class: "left-out-edge", x1: x, x2: x + width, y1: SCORES.top - 2, y2: SCORES.top - 2 }));
    }
  }

  drawLegend() {
    const set = this.sets[this.set];
    this.legend.replaceChildren(...(set?.classes ?? []).map((name, k) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = true;
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(k); else this.hidden.add(k);
        this.draw();
      });
      const sample = make("svg", { viewBox: "0 0 27 10", "aria-hidden": "true" });
      sample.append(make("path", { d: "M0 5H27", ...stroke(k) }));
      label.append(box, sample, name.replaceAll("_", " "));
      return label;
    }));
  }

  drawChosen() {
    if (!this.selection) return;
    const stretch = this.chosen && this.stretch;
    this.selection.setAttribute("x", stretch ? this.x(stretch.onset) : -10);
    this.selection.setAttribute("width", stretch ? stretch.duration * this.perSecond : 0);
  }

  moveHead(time) {
    this.time = time;
    if (!this.head || !this.segments.length) return;
    const x = this.x(time);
    this.head.setAttribute("x1", x);
    this.head.setAttribute("x2", x);
    const [left, width] = [this.box.scrollLeft, this.box.clientWidth];
    if (this.scale > 1 && !this.pressed && (x < left + 10 || x > left + width - 10)) this.box.scrollLeft = x - width / 3;
    for (const [name, value] of [["min", this.first], ["max", this.last], ["now", time]]) {
      this.box.setAttribute(`aria-value${name}`, value.toFixed(1));
    }
    this.box.setAttribute("aria-valuetext", this.describe(time));
  }

  describe(time) {
    const place = this.placeAt(time);
    const set = this.sets[this.set];
    const scores = set?.classes.map((name, k) => [set.values[k][place], name]).filter(([v]) => v !== null) ?? [];
    scores.sort((a, b) => b[0] - a[0]);
    const top = scores.slice(0, 2).map(([v, name]) => `${name.replaceAll("_", " ")} ${v.toFixed(2)}`);
    return [clock(time), ...(top.length ? top : [this.segments[place].status])].join(", ");
  }

  press(event) {
    if (!this.segments.length || event.button) return;
    const place = this.placeAt(this.timeOf(event));
    this.pressed = place;
    if (event.shiftKey) this.extendTo(place); else this.choose(null);
    this.onSeek(this.timeOf(event));
  }

  drag(event) {
    if (this.pressed === null || this.pressed === undefined || !event.buttons) return;
    const place = this.placeAt(this.timeOf(event));
    if (place !== this.pressed || this.chosen) this.choose([this.pressed, place]);
    this.onSeek(this.timeOf(event));
  }

  timeOf(event) { return this.timeAtX(event.clientX - this.box.getBoundingClientRect().left + this.box.scrollLeft); }
}

function stroke(k) {
  const dashes = DASHES[Math.floor(k / COLOURS) % DASHES.length];
  return { class: `score c${k % COLOURS}`, "stroke-dasharray": dashes };
}
