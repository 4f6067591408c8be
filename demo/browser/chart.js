// Two pictures on canvases: the evidence against time with its thresholds, and a level meter.

const SHORTEST_SPAN_S = 12;
const LINE_COLORS = ["--line-1", "--line-2", "--line-3", "--line-4"];
const FLOOR_DBFS = -60;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A canvas as sharp as the screen; gives its context, width and height in CSS pixels. */
function prepared(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

/** Evidence (natural-log likelihood ratio) of one or more claimed speakers over media time. */
export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
    this.reset([], { accept_llr: 2, reject_llr: -2 });
    new ResizeObserver(() => this.redraw()).observe(canvas);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  /** Begin anew, for `speakers` and the LLRs that decide. */
  reset(speakers, thresholds) {
    this.thresholds = thresholds;
    this.lines = new Map(speakers.map((speaker) => [speaker, []]));
    this.marks = [];
    this.speech = [];
    this.now = 0;
    this.redraw();
  }

  addScore(event) {
    for (const score of event.scores) {
      if (!this.lines.has(score.speaker)) this.lines.set(score.speaker, []);
      this.lines.get(score.speaker).push({ at: event.at_s, llr: score.llr });
    }
    this.passTime(event.at_s);
  }

  addDecision(event) {
    if (event.score) this.marks.push({ at: event.at_s, llr: event.score.llr, verdict: event.verdict });
    this.passTime(event.at_s);
  }

  startSpeech(at) {
    this.speech.push({ from: at, to: null });
    this.passTime(at);
  }

  endSpeech(at) {
    const last = this.speech.at(-1);
    if (last && last.to === null) last.to = Math.max(at, last.from);
    this.passTime(at);
  }

  passTime(at) {
    this.now = Math.max(this.now, at);
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.redraw();
    });
  }

  redraw() {
    const { context, width, height } = prepared(this.canvas);
    if (!width || !height) return;
    context.clearRect(0, 0, width, height);
    context.font = `12px ${getComputedStyle(this.canvas).fontFamily}`;
    const box = { left: 1, right: width - 1, top: 6, bottom: height - 38 };
    const x = this.timeScale(box);
    const y = this.evidenceScale(box);
    this.drawZones(context, box, y);
    this.drawTime(context, box, x, height);
    this.drawSpeech(context, box, x);
    [...this.lines.values()].forEach((points, index) => {
      this.drawLine(context, points, x, y, color(LINE_COLORS[index % LINE_COLORS.length]));
    });
    for (const mark of this.marks) this.drawMark(context, mark, x, y, box);
    this.drawLabels(context, box, y);
  }

  timeScale(box) {
    const span = Math.max(SHORTEST_SPAN_S, this.now);
    return (at) => box.left + (at / span) * (box.right - box.left);
  }

  evidenceScale(box) {
    const { accept_llr: accept, reject_llr: reject } = this.thresholds;
    let [lowest, highest] = [reject - (accept - reject) / 2, accept + (accept - reject) / 2];
    for (const points of this.lines.values()) {
      for (const { llr } of points) {
        lowest = Math.min(lowest, llr - 0.3);
        highest = Math.max(highest, llr + 0.3);
      }
    }
    return (llr) => box.bottom - ((llr - lowest) / (highest - lowest)) * (box.bottom - box.top);
  }

  drawZones(context, box, y) {
    const { accept_llr: accept, reject_llr: reject } = this.thresholds;
    const wide = box.right - box.left;
    context.fillStyle = color("--accept-zone");
    context.fillRect(box.left, box.top, wide, y(accept) - box.top);
    context.fillStyle = color("--reject-zone");
    context.fillRect(box.left, y(reject), wide, box.bottom - y(reject));
    context.strokeStyle = color("--rule");
    context.beginPath();
    context.moveTo(box.left, y(0));
    context.lineTo(box.right, y(0));
    context.stroke();
    context.setLineDash([6, 4]);
    for (const [llr, name] of [
      [accept, "--accept"],
      [reject, "--reject"],
    ]) {
      context.strokeStyle = color(name);
      context.beginPath();
      context.moveTo(box.left, y(llr));
      context.lineTo(box.right, y(llr));
      context.stroke();
    }
    context.setLineDash([]);
  }

  /** What the two thresholds mean, legible where the line runs through them. */
  drawLabels(context, box, y) {
    context.textAlign = "right";
    context.lineWidth = 4;
    context.lineJoin = "round";
    for (const [llr, name, label, isAbove] of [
      [this.thresholds.accept_llr, "--accept", "yes, the same voice", true],
      [this.thresholds.reject_llr, "--reject", "no, another voice", false],
    ]) {
      const at = y(llr) + (isAbove ? -5 : 6);
      context.textBaseline = isAbove ? "bottom" : "top";
      context.strokeStyle = color(`${name}-zone`);
      context.strokeText(label, box.right - 8, at);
      context.fillStyle = color(name);
      context.fillText(label, box.right - 8, at);
    }
    context.lineWidth = 1;
  }

  drawTime(context, box, x, height) {
    const span = Math.max(SHORTEST_SPAN_S, this.now);
    const most = (box.right - box.left) / 60;
    const step = [2, 4, 5, 10, 20, 60, 120, 300, 600].find((each) => span / each <= most) ?? 1200;
    context.fillStyle = color("--quiet");
    context.textBaseline = "bottom";
    for (let at = 0; at <= span; at += step) {
      context.textAlign = at === 0 ? "left" : x(at) > box.right - 24 ? "right" : "center";
      context.fillText(`${at} s`, x(at), height);
    }
  }

  drawSpeech(context, box, x) {
    const top = box.bottom + 8;
    context.fillStyle = color("--rule");
    context.fillRect(box.left, top, box.right - box.left, 6);
    context.fillStyle = color("--speech");
    for (const { from, to } of this.speech) {
      context.fillRect(x(from), top, Math.max(1, x(to ?? this.now) - x(from)), 6);
    }
  }

  drawLine(context, points, x, y, stroke) {
    if (!points.length) return;
    context.strokeStyle = stroke;
    context.lineWidth = 2.5;
    context.lineJoin = "round";
    context.beginPath();
    context.moveTo(x(points[0].at), y(points[0].llr));
    let previous = points[0];
    for (const point of points) {
      // Where nobody spoke the evidence stands still.
      if (point.at - previous.at > 0.5) context.lineTo(x(point.at), y(previous.llr));
      context.lineTo(x(point.at), y(point.llr));
      previous = point;
    }
    context.stroke();
    context.lineWidth = 1;
    context.fillStyle = stroke;
    context.beginPath();
    context.arc(x(previous.at), y(previous.llr), 3.5, 0, 2 * Math.PI);
    context.fill();
  }

  drawMark(context, mark, x, y, box) {
    const stroke = color({ accept: "--accept", reject: "--reject" }[mark.verdict] ?? "--quiet");
    const [at, top] = [x(mark.at), y(mark.llr)];
    context.strokeStyle = stroke;
    context.setLineDash([2, 3]);
    context.beginPath();
    context.moveTo(at, box.bottom);
    context.lineTo(at, top);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = color("--card");
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(at, top, 6.5, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
    context.lineWidth = 1;
  }
}

/** A level meter that falls slowly. */
export class Meter {
  constructor(canvas) {
    this.canvas = canvas;
    this.share = 0;
    this.show(-Infinity);
  }

  /** The level of the latest sound, in dB below full scale. */
  show(level) {
    const share = Math.max(0, Math.min(1, 1 - level / FLOOR_DBFS));
    this.share = Math.max(share, this.share - 0.02);
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.redraw();
    });
  }

  clear() {
    this.share = 0;
    this.redraw();
  }

  redraw() {
    const { context, width, height } = prepared(this.canvas);
    const bars = Math.floor(width / 8);
    for (let i = 0; i < bars; i += 1) {
      const isLit = i < Math.round(this.share * bars);
      const lit = i > 0.9 * bars ? "--reject" : "--speech";
      context.fillStyle = color(isLit ? lit : "--rule");
      context.beginPath();
      context.roundRect(i * 8, 0, 5, height, 2);
      context.fill();
    }
  }
}
