// Which scene was heard when: ten minutes of stretches, the newest at the right.

import { duration, spoken } from "./words.js";

const UNSURE = -1;
const AWAY = -2;

export class Timeline {
  constructor({ labels, colours, window_s: windowS, stretches }) {
    Object.assign(this, { labels, colours, windowS, stretches, nowS: 0, pointed: null });
    this.canvas = document.getElementById("timeline");
    this.hover = document.getElementById("hover");
    this.canvas.onpointermove = ({ offsetX }) => this.#point(offsetX / this.canvas.clientWidth);
    this.canvas.onpointerleave = () => this.#point(null);
    this.sized = new ResizeObserver(() => this.#draw());
    this.sized.observe(this.canvas);
    const minutes = Math.round(windowS / 60);
    const texts = [`${minutes} min ago`, `${minutes / 2} min`, "now"];
    document.getElementById("minutes").replaceChildren(
      ...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
    );
  }

  update({ now_s: nowS, stretches }) {
    this.nowS = nowS;
    this.stretches.push(...stretches);
    while (this.stretches.length > 1 && this.stretches[1][0] < nowS - this.windowS) this.stretches.shift();
    if (document.hidden) return;
    this.#draw();
    if (this.pointed !== null) this.#point(this.pointed);
  }

  close() {
    this.sized.disconnect();
  }

  #name(state) {
    return state === UNSURE ? "unsure" : state === AWAY ? "no audio" : spoken(this.labels[state]);
  }

  #point(place) {
    this.pointed = place;
    const at = place === null ? null : this.nowS - this.windowS * (1 - place);
    const found = at === null ? undefined : this.stretches.findLast(([start]) => start <= at);
    this.hover.textContent = found ? `${this.#name(found[1])}, ${duration(this.nowS - at)} ago` : "";
  }

  #draw() {
    const { canvas } = this;
    const scale = window.devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const place = (t) => Math.max(0, width * (1 - (this.nowS - t) / this.windowS));
    context.fillStyle = style.getPropertyValue("--line");
    context.fillRect(0, height - scale, width, scale);
    this.stretches.forEach(([start, state], index) => {
      const end = this.stretches[index + 1]?.[0] ?? this.nowS;
      const [left, right] = [place(start), place(end)];
      if (state >= 0) {
        context.fillStyle = this.colours[state];
        context.fillRect(left, 0, Math.max(right - left, scale), height);
      } else {
        context.fillStyle = style.getPropertyValue(state === AWAY ? "--bad" : "--quiet");
        this.#hatch(context, left, right, height, (state === AWAY ? 5 : 9) * scale, scale);
      }
    });
  }

  // Lines that stay where they are in the stream's time, so that they move with it.
  #hatch(context, left, right, height, step, lineWidth) {
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    for (let x = left - height - ((left - height) % step); x < right; x += step) {
      context.beginPath();
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
      context.lineWidth = lineWidth;
      context.strokeStyle = context.fillStyle;
      context.stroke();
    }
    context.restore();
  }
}
