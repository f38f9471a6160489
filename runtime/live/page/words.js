// Numbers and events in plain words.

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// Labels are file names of scenes: words joined by underscores.
export function spoken(label) {
  return label.replaceAll("_", " ");
}

export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

export function inWords({ kind, data }) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  switch (kind) {
    case "scene":
      return `${spoken(data.scene)} (${percent(data.probability)})`;
    case "unsure":
      return `unsure, likeliest ${spoken(data.top)} (${percent(data.probability)})`;
    case "audio_lost":
      return `lost ${data.duration_s.toFixed(2)} s of audio (${data.cause})`;
    case "source_down":
      return `no audio: ${data.reason}`;
    case "source_up":
      return `audio again after ${duration(data.after_s)}`;
    case "throttled":
      return `the machine slows itself down: ${data.flags.join(", ")}`;
    case "started":
      return `started listening to ${data.source}`;
    case "stopped":
      return `stopped after ${duration(data.audio_s)}`;
    default:
      return kind;
  }
}
