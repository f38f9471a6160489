// The page: connects, hands each message to the part that shows it, and connects again after it was cut off.

import { Bars } from "./bars.js";
import { Events } from "./events.js";
import { Meters } from "./meters.js";
import { Now } from "./now.js";
import { Settings } from "./settings.js";
import { Spectrogram } from "./spectrogram.js";
import { Timeline } from "./timeline.js";

const LONGEST_WAIT_S = 15;
const REFUSED = 1008;

const link = document.getElementById("link");
let parts = null;
let socket = null;
let waitS = 1;

function say(text, state) {
  link.textContent = text;
  link.dataset.state = state;
}

function begin(hello) {
  document.title = `${hello.bundle} - tinyscene`;
  document.getElementById("bundle").textContent = hello.bundle;
  document.getElementById("source").textContent = `${hello.source}, ${hello.engine}`;
  const send = (message) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  if (parts) for (const part of Object.values(parts)) part.close?.();
  parts = {
    now: new Now(hello),
    spectrogram: new Spectrogram(hello),
    bars: new Bars(hello),
    timeline: new Timeline(hello),
    events: new Events(hello),
    meters: new Meters(hello),
    settings: new Settings(hello, send),
  };
  say("live", "live");
}

function take(message) {
  if (message.type === "hello") begin(message);
  else if (!parts) return;
  else if (message.type === "settings") {
    parts.settings.show(message);
    parts.bars.mark(message);
  } else if (message.type === "refused") parts.settings.refuse(message.message);
  else if (message.type === "update") {
    parts.now.update(message);
    parts.bars.update(message);
    parts.timeline.update(message);
    parts.events.update(message);
    parts.meters.update(message);
    if (message.ended) say("ended", "lost");
  }
}

function connect() {
  say("connecting", "");
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    waitS = 1;
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) parts?.spectrogram.add(new Uint8Array(data));
    else take(JSON.parse(data));
  };
  socket.onclose = ({ code, reason }) => {
    parts?.settings.disable();
    if (code === REFUSED) {
      say(reason || "refused", "lost");
      return;
    }
    say(`${reason || "connection lost"}, trying again`, "lost");
    setTimeout(connect, 1000 * waitS);
    waitS = Math.min(2 * waitS, LONGEST_WAIT_S);
  };
}

connect();
