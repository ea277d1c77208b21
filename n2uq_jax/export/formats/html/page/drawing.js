/* Drawings: strokes in the unit square, where they come from, and the pixels that they become. */

/** A surface for strokes by pointer, finger and keys. */
class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{height: number, width: number, background: string?, drawable: boolean}} about
   * @param {() => void} changed is called after every change by hand.
   */
  constructor(canvas, about, changed) {
    this.canvas = canvas;
    this.about = about;
    this.changed = changed;
    this.strokes = [];
    /* Keys move over a grid; one of 8 cells would be too coarse to draw on. */
    this.cells = Math.max(16, about.height);
    this.cursor = { x: this.cells >> 1, y: this.cells >> 1 };
    this.stroke = null;
    if (!about.drawable) return;
    canvas.tabIndex = 0;
    canvas.addEventListener("pointerdown", (event) => this.pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.pointerMove(event));
    for (const name of ["pointerup", "pointercancel"])
      canvas.addEventListener(name, () => (this.stroke = null));
    canvas.addEventListener("keydown", (event) => this.keyDown(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => this.show());
  }

  clear() {
    this.strokes = [];
    this.stroke = null;
  }

  pointerDown(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.stroke = [this.at(event)];
    this.strokes.push(this.stroke);
    this.changed();
  }

  pointerMove(event) {
    if (!this.stroke || !this.canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.stroke.push(this.at(each));
    this.changed();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    return {
      x: within((event.clientX - box.left) / box.width),
      y: within((event.clientY - box.top) / box.height),
    };
  }

  keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (move[event.key]) {
      const [dx, dy] = move[event.key];
      const within = (value) => Math.min(this.cells - 1, Math.max(0, value));
      if (event.shiftKey) this.paintAtCursor();
      this.cursor = { x: within(this.cursor.x + dx), y: within(this.cursor.y + dy) };
      if (event.shiftKey) this.paintAtCursor();
      this.show();
    } else if (event.key === " " || event.key === "Enter") {
      this.paintAtCursor();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    if (!move[event.key] || event.shiftKey) this.changed();
  }

  /* A point beside the one painted before continues its stroke. */
  paintAtCursor() {
    const point = { x: (this.cursor.x + 0.5) / this.cells, y: (this.cursor.y + 0.5) / this.cells };
    const last = this.strokes.at(-1), before = last?.at(-1) ?? { x: -1, y: -1 };
    const distance = Math.hypot(before.x - point.x, before.y - point.y) * this.cells;
    if (distance === 0) return;
    if (distance < 1.5) last.push(point);
    else this.strokes.push([point]);
  }

  /** Shows the strokes or, if there are none, pixels; none is an empty surface. */
  show(pixels = this.pixels) {
    this.pixels = pixels;
    const { canvas, about } = this;
    const box = canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const context = canvas.getContext("2d");
    if (pixels && !this.strokes.length) {
      context.imageSmoothingEnabled = false;
      context.drawImage(pixelsAsCanvas(pixels, about), 0, 0, canvas.width, canvas.height);
    } else {
      paintStrokes(context, this.strokes, canvas, strokeWidth(about) / about.height, about);
    }
    if (about.drawable && document.activeElement === canvas && canvas.matches(":focus-visible")) {
      const cell = canvas.width / this.cells;
      context.strokeStyle = "#e8833a";
      context.lineWidth = Math.max(2, 2 * ratio);
      context.strokeRect(this.cursor.x * cell, this.cursor.y * cell, cell, cell);
    }
  }
}

/* In pixels of the network: about as broad, for its height, as people write digits. */
function strokeWidth({ height }) {
  return 0.16 * height;
}

function paintStrokes(context, strokes, { width, height }, lineWidth, { background }) {
  const [ground, ink] = background === "bright" ? ["white", "black"] : ["black", "white"];
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
  context.strokeStyle = ink;
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = lineWidth * height;
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(stroke[0].x * width, stroke[0].y * height);
    for (const point of stroke.length > 1 ? stroke.slice(1) : stroke)
      context.lineTo(point.x * width, point.y * height);
    context.stroke();
  }
}

/**
 * Moves and scales strokes so that their ink lies where that of known images does.
 * @param {{x: number, y: number}[][]} strokes
 * @param {{height: number, width: number, inkBox: number[]}} about
 * @returns {{x: number, y: number}[][]}
 */
function fitted(strokes, about) {
  const points = strokes.flat();
  const [top, left, bottom, right] = about.inkBox;
  const pen = strokeWidth(about);
  const ends = (values) => [Math.min(...values), Math.max(...values)];
  const [x0, x1] = ends(points.map((p) => p.x * about.width));
  const [y0, y1] = ends(points.map((p) => p.y * about.height));
  /* As tall as known ink and, if that is too wide, no wider than the image. */
  const scale = Math.min(
    (bottom - top - pen) / Math.max(y1 - y0, 1e-9),
    (about.width - pen) / Math.max(x1 - x0, 1e-9),
    4,
  );
  const moved = (value, from, to, size) => ((value * size - from) * scale + to) / size;
  return strokes.map((stroke) =>
    stroke.map(({ x, y }) => ({
      x: moved(x, (x0 + x1) / 2, (left + right) / 2, about.width),
      y: moved(y, (y0 + y1) / 2, (top + bottom) / 2, about.height),
    })),
  );
}

/**
 * Pixels of strokes: averages over what is drawn 16 times finer.
 * @param {{x: number, y: number}[][]} strokes
 * @param {{height: number, width: number, background: string?}} about
 * @returns {Uint8Array} as (height, width).
 */
function rasterize(strokes, about) {
  const fine = 16, { height, width } = about;
  const canvas = document.createElement("canvas");
  canvas.width = fine * width;
  canvas.height = fine * height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  paintStrokes(context, strokes, canvas, strokeWidth(about) / height, about);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const pixels = new Uint8Array(height * width);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let v = 0; v < fine; v++)
        for (let u = 0; u < fine; u++)
          sum += data[4 * ((y * fine + v) * canvas.width + x * fine + u)];
      pixels[y * width + x] = Math.round(sum / fine ** 2);
    }
  return pixels;
}

/** A canvas that holds an input of the network, pixel for pixel. */
function pixelsAsCanvas(pixels, { height, width, channels }) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++)
      image.data[4 * i + c] = pixels[i * channels + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
