// Latency, load, memory, losses and the machine's state. What is not known is not shown as a number.

const milliseconds = (value) => (value === null ? "-" : `${value.toFixed(1)} ms`);

const ROWS = [
  ["latency, half under", (v) => milliseconds(v.latency_p50_ms)],
  ["90 of 100 under", (v) => milliseconds(v.latency_p90_ms)],
  ["99 of 100 under", (v) => milliseconds(v.latency_p99_ms)],
  ["longest", (v) => milliseconds(v.latency_max_ms)],
  ["late decisions", (v) => v.deadline_misses.toLocaleString("en"), (v) => v.deadline_misses > 0],
  ["lost audio", (v) => `${v.dropped_s.toFixed(2)} s (${v.dropped_samples.toLocaleString("en")} samples)`, (v) => v.dropped_samples > 0],
  ["of one core", (v) => (v.load_percent === null ? "-" : `${v.load_percent.toFixed(1)} %`)],
  ["memory", (v) => (v.memory_mib === null ? "-" : `${v.memory_mib.toFixed(0)} MiB`)],
  ["temperature", (v) => (v.temperature_c === null ? "not told" : `${v.temperature_c.toFixed(0)} °C`)],
  ["frequency", (v) => (v.frequency_mhz === null ? "not told" : `${v.frequency_mhz.toFixed(0)} MHz`)],
  ["governor", (v) => v.governor ?? "not told"],
  ["slowed down", (v) => v.throttled.join(", ") || "no", (v) => v.throttled.length > 0],
];

export class Meters {
  constructor() {
    this.values = ROWS.map(() => document.createElement("dd"));
    const names = ROWS.map(([name]) => Object.assign(document.createElement("dt"), { textContent: name }));
    this.shed = document.createElement("dd");
    const shedName = Object.assign(document.createElement("dt"), { textContent: "updates this browser missed" });
    document
      .getElementById("meters")
      .replaceChildren(...names.flatMap((name, index) => [name, this.values[index]]), shedName, this.shed);
  }

  update({ vitals, shed }) {
    ROWS.forEach(([, text, bad], index) => {
      this.values[index].textContent = text(vitals);
      this.values[index].classList.toggle("bad", bad?.(vitals) ?? false);
    });
    this.shed.textContent = shed.toLocaleString("en");
  }
}
