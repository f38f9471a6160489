// Three sliders that the stream follows, and that follow what others set.

const NAMES = ["enter", "leave", "smoothing_s"];
const QUIET_MS = 150;

export class Settings {
  constructor({ settings }, send) {
    this.send = send;
    this.inputs = Object.fromEntries(NAMES.map((name) => [name, document.getElementById(name)]));
    this.refused = document.getElementById("refused");
    for (const name of NAMES) this.inputs[name].oninput = () => this.#moved(name);
    this.show(settings);
  }

  show(settings) {
    // A slider that is being moved is not pulled out of the hand.
    if (this.timer === undefined) for (const name of NAMES) this.inputs[name].value = settings[name];
    this.settings = settings;
    for (const name of NAMES) this.inputs[name].disabled = false;
    this.refused.textContent = "";
    this.#write();
  }

  refuse(message) {
    this.show(this.settings);
    this.refused.textContent = message;
  }

  disable() {
    for (const name of NAMES) this.inputs[name].disabled = true;
  }

  close() {
    clearTimeout(this.timer);
  }

  #moved(name) {
    const { enter, leave } = this.inputs;
    // One threshold takes the other along: a scene cannot be given up above where it is taken.
    if (Number(leave.value) > Number(enter.value)) {
      if (name === "enter") leave.value = enter.value;
      else enter.value = leave.value;
    }
    this.#write();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.send({ type: "settings", ...Object.fromEntries(NAMES.map((one) => [one, Number(this.inputs[one].value)])) });
    }, QUIET_MS);
  }

  #write() {
    for (const name of NAMES) {
      const value = Number(this.inputs[name].value).toFixed(2);
      document.getElementById(`${name}-text`).textContent = name === "smoothing_s" ? `${value} s` : value;
    }
  }
}
