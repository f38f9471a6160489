// A bar a scene, in the order of the labels, with marks where a scene is taken and given up.

import { spoken } from "./words.js";

export class Bars {
  constructor({ labels, colours, settings }) {
    this.labels = labels;
    this.rows = labels.map((label, index) => {
      const [row, name, track, fill, value] = ["li", "span", "span", "span", "span"].map((tag) => document.createElement(tag));
      name.className = "name";
      name.textContent = name.title = spoken(label);
      track.className = "track";
      fill.className = "fill";
      fill.style.display = "block";
      fill.style.backgroundColor = colours[index];
      const marks = ["leave", "enter"].map(() => {
        const mark = document.createElement("span");
        mark.className = "mark";
        return mark;
      });
      value.className = "value";
      track.append(fill, ...marks);
      row.append(name, track, value);
      return { row, fill, value, marks };
    });
    document.getElementById("bars").replaceChildren(...this.rows.map(({ row }) => row));
    this.mark(settings);
    this.update({ decision: null, probabilities: [] });
  }

  mark({ enter, leave }) {
    for (const { marks } of this.rows) {
      marks[0].style.left = `${100 * leave}%`;
      marks[1].style.left = `${100 * enter}%`;
    }
  }

  update({ decision, probabilities }) {
    this.rows.forEach(({ row, fill, value }, index) => {
      const probability = probabilities[index] ?? 0;
      fill.style.transform = `scaleX(${probability})`;
      value.textContent = probabilities.length ? probability.toFixed(2) : "";
      row.dataset.decided = String(decision !== null && decision.scene === this.labels[index]);
    });
  }
}
