// What happened, the newest first.

import { clock, inWords } from "./words.js";

const SHOWN = 60;

export class Events {
  constructor({ events }) {
    this.list = document.getElementById("events");
    this.list.replaceChildren();
    this.update({ events });
  }

  update({ events }) {
    for (const event of events) {
      const [item, time, text] = ["li", "time", "span"].map((tag) => document.createElement(tag));
      item.dataset.kind = event.kind;
      time.dateTime = event.at;
      time.textContent = clock(event.at);
      text.textContent = inWords(event);
      item.append(time, text);
      this.list.prepend(item);
      if (this.list.children.length > SHOWN) this.list.lastChild.remove();
    }
  }
}
