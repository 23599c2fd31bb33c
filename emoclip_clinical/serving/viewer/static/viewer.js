// The page: opens the cohort, then one interview, and lets its parts hear of each other.

import { Cohort } from "./cohort.js";
import { Marks } from "./marks.js";
import { Player } from "./player.js";
import { Timeline, clock } from "./timeline.js";

const $ = (id) => document.getElementById(id);
let silence = 0;

function say(text) {
  $("said").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { $("said").textContent = ""; }, 6000);
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.ok) return answer.json();
  const text = await answer.text();
  let faults = [text || `the viewer answered ${answer.status}`];
  try { faults = JSON.parse(text).faults ?? faults; } catch { /* plain text is shown as it is */ }
  throw new Error(faults.join("; "));
}

const address = (name) => `/api/interviews/${encodeURIComponent(name)}`;

class Page {
  constructor(overview) {
    this.overview = overview;
    this.present = null;
    this.cohort = new Cohort(overview, (name) => { location.hash = `#${encodeURIComponent(name)}`; });
    this.player = new Player({
      showFaces: overview.show_faces, address, say, onTime: (t) => this.showTime(t), onState: () => this.showState(),
    });
    this.timeline = new Timeline($("timeline"), $("legend"), {
      onSeek: (t) => this.player.seek(t), onChoose: () => this.marks.showStretch(),
    });
    this.marks = new Marks({
      ask, address, say, timeline: this.timeline,
      onChange: (name, marks) => this.cohort.setMarked(name, new Set(marks.flatMap((m) => m.segments)).size),
    });
    this.showFrame();
    this.listen();
  }

  showFrame() {
    const { overview } = this;
    $("study").textContent = overview.study;
    document.title = overview.study;
    $("faces").textContent = overview.show_faces ? "Faces are shown" : "Pictures are blurred";
    $("faces").classList.toggle("open", overview.show_faces);
    const told = [];
    if (!overview.marks_count) {
      told.push(`Marks are written to ${overview.marks_file}. They count once the protocol names it under data.exclusions.`);
    }
    if (overview.targets.length) {
      told.push("Estimates are shown: what is left out now may follow the outcome, and the file of marks says so.");
    }
    $("notice").textContent = told.join(" ");
    $("notice").hidden = !told.length;
  }

  listen() {
    window.addEventListener("hashchange", () => this.openHash());
    $("back").addEventListener("click", () => { location.hash = ""; });
    $("play").addEventListener("click", () => this.player.toggle());
    $("earlier").addEventListener("click", () => this.step(-1));
    $("later").addEventListener("click", () => this.step(1));
    $("speed").addEventListener("change", () => this.player.setSpeed(Number($("speed").value)));
    $("zoom-in").addEventListener("click", () => this.timeline.zoom(2));
    $("zoom-out").addEventListener("click", () => this.timeline.zoom(0.5));
    $("set").addEventListener("change", () => this.timeline.useSet(Number($("set").value)));
    $("target").addEventListener("change", () => this.showMoments());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (!this.present || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, nav") || (event.key === " " && event.target.closest("button"))) return;
    const actions = {
      " ": () => this.player.toggle(),
      ArrowLeft: () => this.step(-1, event.shiftKey),
      ArrowRight: () => this.step(1, event.shiftKey),
      Home: () => this.player.seek(this.timeline.first),
      End: () => this.player.seek(this.timeline.last),
      m: () => $("reason").focus(),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  step(by, extend = false) {
    const place = this.timeline.neighbour(this.player.time, by);
    if (place === null) return;
    if (extend) this.timeline.extendTo(place);
    this.player.seek(this.timeline.onsetOf(place));
  }

  async openHash() {
    const name = decodeURIComponent(location.hash.slice(1));
    this.player.close();
    this.present = null;
    document.querySelector("main").classList.toggle("open", Boolean(name));
    $("interview").hidden = !name;
    this.cohort.setPresent(name);
    if (!name) return;
    try {
      const found = await ask(address(name));
      if (decodeURIComponent(location.hash.slice(1)) === name) this.open(found);
    } catch (error) {
      say(error.message);
      location.hash = "";
    }
  }

  open(found) {
    this.present = found;
    const ok = found.segments.filter((s) => s.status === "ok").length;
    $("name").textContent = found.interview;
    $("about").textContent = [
      `${ok} of ${found.segments.length} segments have scores`, found.status === "ok" ? "" : found.status, found.reason,
    ].filter(Boolean).join(" · ");
    $("set").replaceChildren(...found.sets.map((set, i) => new Option(set.name, i)));
    $("set-label").hidden = found.sets.length < 2;
    this.timeline.show(found);
    this.player.open(found, this.timeline.first, this.timeline.last);
    this.marks.show(found);
    this.showMoments();
    window.scrollTo(0, 0);
  }

  showMoments() {
    if (!this.present) return;
    const of = this.present.moments[Number($("target").value) || 0];
    const segments = of?.segments ?? [];
    $("moments-section").hidden = !segments.length;
    this.timeline.showMoments(segments);
    $("moments").replaceChildren(...segments.map((moment) => {
      const item = document.createElement("li");
      const go = document.createElement("button");
      go.type = "button";
      const sign = moment.influence > 0 ? "▲ +" : "▼ −";
      go.textContent = `${clock(moment.onset)} to ${clock(moment.onset + moment.duration)}   ${sign}${Math.abs(moment.influence).toPrecision(2)}`;
      go.addEventListener("click", () => this.player.seek(moment.onset));
      item.append(go);
      return item;
    }));
  }

  showTime(time) {
    this.timeline.moveHead(time);
    $("clock").textContent = `${clock(time)} / ${clock(this.timeline.last)}`;
    this.marks.showStretch();
  }

  showState() { $("play").textContent = this.player.playing ? "Pause" : "Play"; }
}

try {
  const page = new Page(await ask("/api/cohort"));
  await page.openHash();
} catch (error) {
  $("notice").textContent = error.message;
  $("notice").hidden = false;
}
