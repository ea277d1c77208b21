/* From image files to the pixels that a network takes, as `n2uq predict` makes them with Pillow. */

/**
 * Decodes an image file.
 * @param {Blob} file
 * @returns {Promise<ImageData>} on white where it is transparent.
 */
async function decodeImage(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/**
 * Pixels of a network's input.
 * @param {{width: number, height: number, data: Uint8ClampedArray}} image RGBA.
 * @param {{channels: number, preparation: object}} about
 * @returns {Uint8Array} as (height, width, channels).
 */
function prepareImage(image, about) {
  const planes = about.channels === 1 ? [grayOf(image)] : [0, 1, 2].map((c) => planeOf(image, c));
  const { resize, shorterSide, crop } = about.preparation;
  const size = { height: image.height, width: image.width };
  let target = resize && { height: resize[0], width: resize[1] };
  if (!resize) {
    const shorter = Math.min(size.height, size.width);
    target = {
      height: Math.trunc((shorterSide * size.height) / shorter),
      width: Math.trunc((shorterSide * size.width) / shorter),
    };
  }
  const resized = planes.map((plane) => resizePlane(plane, size, target));
  const [height, width] = resize || crop;
  const top = roundHalfToEven((target.height - height) / 2);
  const left = roundHalfToEven((target.width - width) / 2);
  const pixels = new Uint8Array(height * width * planes.length);
  let at = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (const plane of resized) pixels[at++] = plane[(top + y) * target.width + left + x];
  return pixels;
}

function planeOf({ width, height, data }, channel) {
  const plane = new Uint8Array(width * height);
  for (let i = 0; i < plane.length; i++) plane[i] = data[4 * i + channel];
  return plane;
}

/* Luma as of ITU-R BT.601, in Pillow's fixed point. */
function grayOf({ width, height, data }) {
  const plane = new Uint8Array(width * height);
  for (let i = 0; i < plane.length; i++)
    plane[i] = (19595 * data[4 * i] + 38470 * data[4 * i + 1] + 7471 * data[4 * i + 2] + 32768) >> 16;
  return plane;
}

/* Bilinear, with a triangle as wide as a pixel of the result, so that none is skipped. */
function resizePlane(plane, from, to) {
  const wide = resizeLines(plane, {
    count: from.height, line: from.width, size: from.width, step: 1, newSize: to.width,
    newLine: to.width, newStep: 1,
  });
  return resizeLines(wide, {
    count: to.width, line: 1, size: from.height, step: to.width, newSize: to.height,
    newLine: 1, newStep: to.width,
  });
}

function resizeLines(plane, { count, line, size, step, newSize, newLine, newStep }) {
  if (size === newSize) return plane;
  const unit = 2 ** 22;
  const result = new Uint8Array(count * newSize);
  const scale = size / newSize, support = Math.max(scale, 1);
  for (let i = 0; i < newSize; i++) {
    const center = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(size, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let j = first; j < last; j++)
      weights.push(Math.max(0, 1 - Math.abs((j - center + 0.5) / support)));
    const total = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map((w) => Math.trunc(0.5 + (w / total) * unit));
    for (let n = 0; n < count; n++) {
      let sum = unit / 2;
      for (let j = first; j < last; j++) sum += fixed[j - first] * plane[n * line + j * step];
      result[n * newLine + i * newStep] = Math.min(255, Math.floor(sum / unit));
    }
  }
  return result;
}

function roundHalfToEven(x) {
  return x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);
}

/* Whether the pixels at the border are nearer to white. */
function hasBrightBorder(pixels, { height, width }) {
  let sum = 0, count = 0;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (y === 0 || x === 0 || y === height - 1 || x === width - 1) {
        sum += pixels[y * width + x];
        count++;
      }
  return sum / count > 127;
}

function inverted(pixels) {
  return pixels.map((pixel) => 255 - pixel);
}
