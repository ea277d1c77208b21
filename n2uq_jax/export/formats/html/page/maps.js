/* The codes of a layer as pictures: one for each channel, side by side. */

const FIRST_MAPS = 64;
const LARGEST_MAP = 56;
const MAP_GAP = 4;

class LayerMaps {
  /**
   * @param {HTMLElement} parent gets a figure.
   * @param {{name: string, height: number, width: number, channels: number, low: number,
   *          high: number, bits: number}} layer
   */
  constructor(parent, layer) {
    this.layer = layer;
    this.all = layer.channels <= FIRST_MAPS;
    const { name, height, width, channels, bits } = layer;
    const figure = parent.appendChild(document.createElement("figure"));
    const caption = figure.appendChild(document.createElement("figcaption"));
    caption.append(labelled("span", "layer-name", name));
    const maps = `${channels} ${channels === 1 ? "map" : "maps"} of ${height}×${width}`;
    caption.append(labelled("span", "layer-shape", `${maps} · ${bits} ${bits === 1 ? "bit" : "bits"}`));
    this.legend = caption.appendChild(labelled("span", "legend", ""));
    this.legend.setAttribute("aria-hidden", "true");
    this.canvas = figure.appendChild(document.createElement("canvas"));
    this.canvas.setAttribute("role", "img");
    if (!this.all) {
      const button = figure.appendChild(labelled("button", "", `Show all ${channels} maps`));
      button.type = "button";
      button.addEventListener("click", () => {
        this.all = true;
        button.remove();
        this.show(this.codes);
      });
    }
  }

  /** @param {Int16Array?} codes as (height, width, channels); null for nothing. */
  show(codes) {
    this.codes = codes;
    const { height, width, channels, low, high, name } = this.layer;
    const colors = ramp(high - low + 1);
    this.showLegend(colors);
    const count = this.all ? channels : FIRST_MAPS;
    const { canvas } = this;
    const { columns, scale } = arranged(this.layer, count, canvas.parentElement.clientWidth);
    const stepX = scale * width + MAP_GAP, stepY = scale * height + MAP_GAP;
    canvas.width = columns * stepX - MAP_GAP;
    canvas.height = Math.ceil(count / columns) * stepY - MAP_GAP;
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    const words = new Uint32Array(image.data.buffer);
    let zeros = 0;
    for (let c = 0; c < count; c++) {
      const left = (c % columns) * stepX, top = Math.floor(c / columns) * stepY;
      for (let y = 0; y < scale * height; y++)
        for (let x = 0; x < scale * width; x++) {
          const pixel = Math.floor(y / scale) * width + Math.floor(x / scale);
          const code = codes ? codes[pixel * channels + c] : low;
          words[(top + y) * canvas.width + left + x] = colors[code - low];
        }
    }
    context.putImageData(image, 0, 0);
    for (const code of codes ?? []) zeros += code === low;
    const share = codes ? `, ${Math.round((100 * zeros) / codes.length)} % of the codes are ${low}` : "";
    canvas.setAttribute("aria-label", `${name}: ${channels} maps of codes ${low} to ${high}${share}`);
  }

  showLegend(colors) {
    const { low, high } = this.layer;
    this.legend.replaceChildren();
    const shown = high - low < 8 ? [...colors.keys()] : [0, high - low];
    for (const index of shown) {
      const swatch = this.legend.appendChild(document.createElement("i"));
      swatch.style.backgroundColor = cssColor(colors[index]);
      this.legend.append(String(low + index));
      if (shown.length === 2 && !index) this.legend.append(" …");
    }
  }
}

/* Rows of equally many maps, if that leaves no row half empty, each as large as there is room for. */
function arranged({ height, width }, count, room) {
  const scaleFor = (size) => Math.max(1, Math.floor(size / Math.max(height, width)));
  const wanted = Math.min(LARGEST_MAP, Math.max(14, 7 * height), room / 8 - MAP_GAP);
  const fit = Math.max(1, Math.floor((room + MAP_GAP) / (scaleFor(wanted) * width + MAP_GAP)));
  let columns = Math.min(count, fit);
  for (let even = columns; 2 * even > fit; even--)
    if (count % even === 0) {
      columns = even;
      break;
    }
  const most = Math.floor((room + MAP_GAP) / columns) - MAP_GAP;
  return { columns, scale: scaleFor(Math.min(LARGEST_MAP, Math.max(most, 1))) };
}

function labelled(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/* Colors of codes, from the style's three, as a canvas keeps them: alpha, blue, green, red. */
function ramp(count) {
  const style = getComputedStyle(document.documentElement);
  const stops = ["--map-low", "--map-middle", "--map-high"].map((name) => {
    const hex = style.getPropertyValue(name).trim();
    return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  });
  return Uint32Array.from({ length: count }, (_, i) => {
    const place = count === 1 ? 0 : (2 * i) / (count - 1);
    const from = Math.min(1, Math.floor(place));
    const [r, g, b] = stops[from].map((v, c) =>
      Math.round(v + (stops[from + 1][c] - v) * (place - from)),
    );
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  });
}

function cssColor(word) {
  return `rgb(${word & 255}, ${(word >> 8) & 255}, ${(word >> 16) & 255})`;
}
