// What is heard now, for how long, how loud.

import { duration, spoken } from "./words.js";

export class Now {
  constructor(hello) {
    this.hello = hello;
    this.scene = document.getElementById("scene");
    this.held = document.getElementById("held");
    this.level = document.getElementById("level");
    this.levelText = document.getElementById("level-text");
  }

  update({ decision, held_s, down, ended }) {
    if (down !== null) this.#show("no audio", "away", "");
    else if (decision === null) this.#show("listening", "", "");
    else if (decision.scene === null) this.#show(`unsure: ${spoken(decision.top)}?`, "unsure", "");
    else this.#show(spoken(decision.scene), "scene", this.hello.colours[this.hello.labels.indexOf(decision.scene)]);
    const chance = decision === null ? "" : `${Math.round(100 * decision.probability)} %`;
    this.held.textContent =
      down !== null ? down : decision === null ? "" : `${ended ? "at the end, " : ""}for ${duration(held_s)}, ${chance}`;
    const level = decision?.level_dbfs ?? null;
    this.level.value = level ?? -90;
    this.levelText.textContent = level === null ? "-" : `${level.toFixed(0)} dBFS`;
  }

  #show(text, state, colour) {
    // Set only when it changes: each change is read aloud.
    if (this.scene.textContent !== text) this.scene.textContent = text;
    this.scene.dataset.state = state;
    this.scene.style.setProperty("--scene", colour || "var(--line)");
  }
}
