// Plays an interview: blurred pictures, which this page asks for one by one, or the video itself.

const $ = (id) => document.getElementById(id);

export class Player {
  constructor({ showFaces, address, say, onTime, onState }) {
    Object.assign(this, { showFaces, address, say, onTime, onState });
    this.playing = false;
    this.speed = 1;
    this.time = 0;
    this.found = null;
    const video = $("video");
    video.addEventListener("error", () => this.fallBack());
    video.addEventListener("ended", () => this.pause());
    video.addEventListener("seeked", () => this.follow());
  }

  get usesVideo() { return !$("video").hidden; }

  open(found, first, last) {
    this.close();
    Object.assign(this, { found, first, last });
    const playable = found.video && !found.video_fault;
    $("video").hidden = !(playable && this.showFaces);
    $("picture").hidden = !playable || this.usesVideo;
    this.note(playable ? "" : found.video_fault || "The video of this interview is not there. The timeline is all there is to see.");
    $("play").disabled = !playable;
    if (this.usesVideo) $("video").src = `${this.address(found.interview)}/video`;
    this.seek(first);
  }

  close() {
    this.pause();
    this.found = null;
    const video = $("video");
    if (video.getAttribute("src")) { video.removeAttribute("src"); video.load(); }
  }

  note(text) { $("stage-note").textContent = text; $("stage-note").hidden = !text; }

  fallBack() {
    if (!this.found || !$("video").getAttribute("src")) return;
    $("video").hidden = true;
    $("picture").hidden = false;
    this.note("This browser can not play the video's format; blurred pictures are shown in its place.");
    this.seek(this.time);
  }

  toggle() { if (this.playing) this.pause(); else this.play(); }

  play() {
    if (!this.found || $("play").disabled) return;
    if (this.time >= this.last - 0.05) this.seek(this.first);
    this.playing = true;
    this.onState();
    if (this.usesVideo) {
      $("video").playbackRate = this.speed;
      $("video").play().catch(() => this.pause());
    }
    this.before = performance.now();
    requestAnimationFrame((now) => this.tick(now));
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    $("video").pause();
    this.onState();
  }

  setSpeed(speed) { this.speed = speed; $("video").playbackRate = speed; }

  seek(time) {
    if (!this.found) return;
    this.time = Math.min(this.last, Math.max(this.first, time));
    if (this.usesVideo) $("video").currentTime = Math.max(0, this.time - this.found.clock_start);
    else this.ask();
    this.onTime(this.time);
  }

  follow() {
    if (!this.found || !this.usesVideo || !this.playing) return;
    this.time = $("video").currentTime + this.found.clock_start;
    this.onTime(this.time);
  }

  tick(now) {
    if (!this.playing) return;
    if (this.usesVideo) {
      if (!$("video").seeking) this.follow();
    } else {
      this.time += ((now - this.before) / 1000) * this.speed;
      this.ask();
      this.onTime(Math.min(this.time, this.last));
    }
    this.before = now;
    if (this.time >= this.last) { this.time = this.last; this.pause(); return; }
    requestAnimationFrame((next) => this.tick(next));
  }

  // One picture is on its way at a time; the next that is asked for is the one of that moment.
  async ask() {
    if (this.asking || $("picture").hidden) { this.askAgain = true; return; }
    this.asking = true;
    this.askAgain = false;
    const { found } = this;
    try {
      const answer = await fetch(`${this.address(found.interview)}/picture?seconds=${this.time.toFixed(3)}`, { credentials: "same-origin" });
      if (!answer.ok) throw new Error(await answer.text());
      const image = await createImageBitmap(await answer.blob());
      if (found === this.found) this.paint(image);
    } catch (error) {
      if (found === this.found) { this.pause(); this.note(error.message); }
    }
    this.asking = false;
    if (this.askAgain && this.found && !this.playing) this.ask();
  }

  paint(image) {
    const canvas = $("picture");
    // Drawn larger than it is: smooth colours in the place of squares; nothing is added by it.
    canvas.width = image.width * 16;
    canvas.height = image.height * 16;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    canvas.dataset.pictures = Number(canvas.dataset.pictures ?? 0) + 1;
  }
}
