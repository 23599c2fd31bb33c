// Marks: stretches of an interview that are to be left out, each with its reason.

import { clock } from "./timeline.js";

const $ = (id) => document.getElementById(id);

export class Marks {
  constructor({ ask, address, say, timeline, onChange }) {
    Object.assign(this, { ask, address, say, timeline, onChange });
    $("mark").addEventListener("submit", (event) => { event.preventDefault(); this.add(); });
  }

  show(found) {
    this.interview = found.interview;
    this.segments = found.segments;
    $("reason").value = "";
    $("mark").hidden = !found.segments.length;
    this.draw(found.marks);
    this.showStretch();
  }

  showStretch() {
    const stretch = this.timeline.stretch;
    if (!stretch) return;
    const end = stretch.onset + stretch.duration;
    const what = stretch.count === 1 ? "1 segment" : `${stretch.count} segments`;
    $("stretch").textContent = `${clock(stretch.onset)} to ${clock(end)} (${what})`;
  }

  async add() {
    const { onset, duration } = this.timeline.stretch;
    const reason = $("reason").value;
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ onset, duration, reason }) };
    if (await this.change("/marks", options)) {
      $("reason").value = "";
      this.timeline.choose(null);
      this.say(`Left out: ${clock(onset)} to ${clock(onset + duration)}.`);
      $("timeline").focus();
    }
  }

  async change(path, options) {
    const name = this.interview;
    try {
      const { marks } = await this.ask(`${this.address(name)}${path}`, options);
      this.onChange(name, marks);
      if (name === this.interview) { this.draw(marks); this.timeline.showMarks(marks); }
      return true;
    } catch (error) {
      this.say(error.message);
      return false;
    }
  }

  draw(marks) {
    $("marks").replaceChildren(...marks.map((mark) => {
      const rows = this.segments.filter((s) => mark.segments.includes(s.segment));
      const onset = mark.onset ?? rows[0].onset;
      const end = mark.onset === null ? rows[0].onset + rows[0].duration : onset + mark.duration;
      const several = mark.segments.length === 1 ? "" : ` (${mark.segments.length} segments)`;
      const item = document.createElement("li");
      const text = document.createElement("span");
      text.textContent = `${clock(onset)} to ${clock(end)}${several}: ${mark.reason}`;
      const back = document.createElement("button");
      back.type = "button";
      back.textContent = "Take back";
      back.setAttribute("aria-label", `Take back ${text.textContent}`);
      back.addEventListener("click", async () => {
        if (await this.change(`/marks/${mark.id}`, { method: "DELETE" })) this.say("Taken back.");
      });
      item.append(text, back);
      return item;
    }));
  }
}
