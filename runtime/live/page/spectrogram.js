// The picture of what was heard: one column of pixels a column of bytes, shifted left as new ones come.

export class Spectrogram {
  constructor({ bands, palette, ticks, columns_per_s: columnsPerS }) {
    this.bands = bands;
    this.canvas = document.getElementById("spectrogram");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.waiting = [];
    this.colours = new Uint32Array(palette.map((colour) => packed(colour)));
    // The canvas holds the data's own pixels; the browser stretches it to the page.
    this.canvas.width = Math.round(10 * columnsPerS);
    this.canvas.height = bands;
    this.context.fillStyle = palette[0];
    this.context.fillRect(0, 0, this.canvas.width, bands);
    const list = document.getElementById("ticks");
    list.replaceChildren(
      // Low frequencies lie close together on the mel scale: those that would touch are left out, from above.
      ...apart(ticks).map(([hz, place]) => {
        const item = document.createElement("li");
        item.textContent = hz < 1000 ? `${hz}` : `${hz / 1000}k`;
        item.style.bottom = `${100 * place}%`;
        return item;
      }),
    );
  }

  add(columns) {
    this.waiting.push(columns);
    // A hidden tab draws nothing: only what would still be seen is kept.
    let kept = this.waiting.reduce((sum, piece) => sum + piece.length, 0);
    while (kept - this.waiting[0].length > this.canvas.width * this.bands) kept -= this.waiting.shift().length;
    this.frame ??= requestAnimationFrame(() => this.#draw());
  }

  close() {
    if (this.frame !== undefined) cancelAnimationFrame(this.frame);
  }

  #draw() {
    this.frame = undefined;
    const { canvas, context, bands } = this;
    const total = this.waiting.reduce((sum, piece) => sum + piece.length, 0) / bands;
    const bytes = new Uint8Array(total * bands);
    let at = 0;
    for (const piece of this.waiting) {
      bytes.set(piece, at);
      at += piece.length;
    }
    this.waiting = [];
    const shown = Math.min(total, canvas.width);
    const image = context.createImageData(shown, bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (let x = 0; x < shown; x++) {
      const column = (total - shown + x) * bands;
      for (let band = 0; band < bands; band++) pixels[(bands - 1 - band) * shown + x] = this.colours[bytes[column + band]];
    }
    context.drawImage(canvas, -shown, 0);
    context.putImageData(image, canvas.width - shown, 0);
  }
}

function apart(ticks) {
  return ticks.reduceRight((kept, tick) => (kept.length && kept[0][1] - tick[1] < 0.08 ? kept : [tick, ...kept]), []);
}

// "#rrggbb" as the pixel of an image, in this machine's byte order.
function packed(colour) {
  const bytes = [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16));
  return new Uint32Array(new Uint8Array([...bytes, 255]).buffer)[0];
}
