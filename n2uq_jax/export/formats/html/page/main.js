/* The page: what is shown, what it was made of, and what happens when something changes. */

const about = JSON.parse(document.getElementById("about").textContent);
const element = (id) => document.getElementById(id);

/* What the network sees: a drawing, or pixels as they were prepared; and in words, how. */
const source = { pixels: null, note: "", inverted: false };

let network, drawing, result, layers, pending = false;

async function start() {
  describe();
  const bytes = Uint8Array.from(atob(element("module").textContent), (c) => c.charCodeAt(0));
  network = new Network(await WebAssembly.compile(bytes), about);
  result = new Result(about);
  layers = about.layers.map((layer) => new LayerMaps(element("layers"), layer));
  drawing = new Drawing(element("surface"), about, () => {
    source.pixels = null;
    update();
  });
  warmUp();
  listen();
  addSamples();
  const samples = element("samples").children;
  if (samples.length) samples[0].click();
  else reset();
}

/* What stands on the page once and for all. */
function describe() {
  const { height, width, channels, classes, weights } = about;
  const many = (n) => n.toLocaleString("en");
  const share = Math.floor((100 * weights.ofThoseBits) / weights.count);
  const most = share === 100 ? "all" : `${share} % of them`;
  element("lead").textContent =
    `${height}×${width} ${channels === 1 ? "gray" : "color"} pixels in, ${many(classes)} classes out, ` +
    `and nothing but integers between: ${many(weights.count)} weights, ${most} of ${weights.bits} ` +
    `${weights.bits === 1 ? "bit" : "bits"}, compiled into this page.`;
  element("seen-caption").textContent = `What the network reads: ${height}×${width}`;
  element("seen").setAttribute("aria-label", `The input, ${height} by ${width} pixels`);
  element("layers-help").textContent =
    "What enters each layer: small integers, one picture for each channel.";
  const surface = element("surface");
  if (about.drawable) {
    surface.setAttribute("role", "application");
    surface.setAttribute("aria-label", "Drawing surface");
    surface.setAttribute("aria-describedby", "surface-help");
    element("surface-help").textContent =
      "Draw with a finger or a pointer. Or with keys: arrows move, space paints, shift and arrows " +
      "draw a line, delete clears.";
  } else {
    surface.setAttribute("role", "img");
    surface.setAttribute("aria-label", "The image");
    surface.parentElement.classList.add("image-alone");
    element("surface-help").remove();
  }
  element("fit-label").hidden = !(about.drawable && about.inkBox);
  element("invert-label").hidden = about.channels !== 1;
}

function listen() {
  element("reset").addEventListener("click", reset);
  element("fit").addEventListener("change", update);
  element("invert").addEventListener("change", () => {
    if (source.pixels) source.pixels = inverted(source.pixels);
    source.inverted = element("invert").checked;
    update();
  });
  element("file").addEventListener("change", (event) => {
    open(event.target.files[0]);
    event.target.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    open(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  window.addEventListener("resize", update);
}

function addSamples() {
  const group = element("samples");
  about.samples.forEach((encoded, index) => {
    const pixels = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
    const button = group.appendChild(labelled("button", "sample", ""));
    button.type = "button";
    button.setAttribute("aria-label", `Sample image ${index + 1}`);
    button.append(pixelsAsCanvas(pixels, about));
    button.addEventListener("click", () => take(pixels, "An image that the network was tested on, as it is."));
  });
  group.hidden = !about.samples.length;
}

/* Replaces what was there by pixels. */
function take(pixels, note, inverted = false) {
  drawing.clear();
  Object.assign(source, { pixels, note, inverted });
  element("invert").checked = inverted;
  update();
}

function reset() {
  drawing.clear();
  Object.assign(source, { pixels: null, note: "", inverted: false });
  element("invert").checked = false;
  element("fit").checked = true;
  update();
}

async function open(file) {
  if (!file) return;
  try {
    const image = await decodeImage(file);
    const pixels = prepareImage(image, about);
    const { resize, shorterSide, crop } = about.preparation;
    const how = resize
      ? `Resized from ${image.height}×${image.width} to ${resize.join("×")}`
      : `Resized until its shorter side has ${shorterSide} pixels, and cropped to ${crop.join("×")}`;
    const note = `${how}, bilinear${about.channels === 1 ? ", in gray (luma)" : ", in red, green and blue"}.`;
    const unlike =
      about.background !== null &&
      hasBrightBorder(pixels, about) !== (about.background === "bright");
    take(unlike ? inverted(pixels) : pixels, note, unlike);
    fail("");
  } catch (error) {
    fail(`${file.name || "This"} is no image that this browser reads.`);
  }
}

function fail(message) {
  element("failure").textContent = message;
  element("failure").hidden = !message;
}

/* What the network is to see now; null for nothing. */
function currentPixels() {
  if (source.pixels) return source.pixels;
  if (!drawing.strokes.length) return null;
  const fit = about.inkBox && element("fit").checked;
  const pixels = rasterize(fit ? fitted(drawing.strokes, about) : drawing.strokes, about);
  return element("invert").checked ? inverted(pixels) : pixels;
}

/* Where the pixels come from, in words. */
function preparation() {
  const ground = { dark: "bright on dark", bright: "dark on bright" }[about.background];
  if (source.pixels) {
    if (!source.inverted) return source.note;
    return `${source.note} Inverted${ground ? `, since the network knows images ${ground}` : ""}.`;
  }
  if (!drawing.strokes.length) return "";
  const size = `${about.height}×${about.width}`;
  const fit = about.inkBox && element("fit").checked;
  const moved = fit ? "moved and scaled to fill the frame as the images of the data set do, then " : "";
  const like = ground ? `, ${ground} as in the data set` : "";
  return `Your drawing, ${moved}averaged down to ${size}${like}.`;
}

/* Runs the network before the next frame, once for all that changed until then. */
function update() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    refresh();
  });
}

function refresh() {
  const pixels = currentPixels();
  drawing.show(source.pixels);
  element("preparation").textContent = preparation();
  const seen = element("seen");
  seen.width = about.width;
  seen.height = about.height;
  if (!pixels) {
    result.clear();
    element("time").textContent = "";
    layers.forEach((layer) => layer.show(null));
    return;
  }
  seen.getContext("2d").drawImage(pixelsAsCanvas(pixels, about), 0, 0);
  const { sums, milliseconds } = timed(() => network.run(pixels));
  result.show(sums);
  element("time").textContent =
    `${milliseconds < 1 ? milliseconds.toFixed(2) : milliseconds.toFixed(1)} ms a run, on one core.`;
  layers.forEach((layer, i) => layer.show(network.codes(i)));
}

/* The first runs are slower: the browser still compiles. */
function warmUp() {
  const blank = new Uint8Array(about.height * about.width * about.channels);
  const end = performance.now() + 50;
  do network.run(blank);
  while (performance.now() < end);
}

/* A browser's clock is coarse: short runs are repeated for some milliseconds. */
function timed(run) {
  const begin = performance.now();
  let count = 0, now = begin, sums;
  do {
    sums = run();
    count++;
    now = performance.now();
  } while (now - begin < 4 && count < 100);
  return { sums, milliseconds: (now - begin) / count };
}

const ready = start().catch((error) => {
  fail(
    typeof WebAssembly === "undefined" || error instanceof WebAssembly.CompileError
      ? "This browser lacks WebAssembly with vectors (SIMD), which this page wants."
      : `The page failed to start: ${error.message}`,
  );
  throw error;
});
