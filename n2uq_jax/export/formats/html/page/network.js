/* The network: a WebAssembly module, and what lies where in its memory. */

class Network {
  /**
   * @param {WebAssembly.Module} module with model_run and model_workspace_size.
   * @param {{height: number, width: number, channels: number, classes: number,
   *          layers: {name: string, height: number, width: number, channels: number,
   *                   element: string, pitch: number, offset: number}[]}} about
   */
  constructor(module, about) {
    this.about = about;
    const { exports } = new WebAssembly.Instance(module);
    this.exports = exports;
    const aligned = (address) => Math.ceil(address / 64) * 64;
    const { height, width, channels, classes } = about;
    this.image = aligned(exports.__heap_base.value);
    this.sums = aligned(this.image + height * width * channels);
    this.workspace = aligned(this.sums + 4 * classes);
    const end = this.workspace + exports.model_workspace_size(1);
    const missing = end - exports.memory.buffer.byteLength;
    if (missing > 0) exports.memory.grow(Math.ceil(missing / 65536));
  }

  /**
   * Computes the integer sums of all classes.
   * @param {Uint8Array} pixels as (height, width, channels).
   * @returns {Int32Array} which the next run leaves as it is.
   */
  run(pixels) {
    const { memory, model_run: run } = this.exports;
    new Uint8Array(memory.buffer).set(pixels, this.image);
    if (run(this.image, 1, this.sums, this.workspace)) throw new Error("model_run refuses");
    return new Int32Array(memory.buffer, this.sums, this.about.classes).slice();
  }

  /**
   * The codes of a layer in the last run.
   * @param {number} index of the layer.
   * @returns {Int16Array} as (height, width, channels).
   */
  codes(index) {
    const { height, width, channels, pitch, offset, element } = this.about.layers[index];
    const pixels = height * width;
    const Elements = { U8: Uint8Array, I16: Int16Array, I32: Int32Array }[element];
    const stored = new Elements(this.exports.memory.buffer, this.workspace + offset, pixels * pitch);
    const codes = new Int16Array(pixels * channels);
    for (let pixel = 0; pixel < pixels; pixel++) {
      const start = pixel * pitch;
      codes.set(stored.subarray(start, start + channels), pixel * channels);
    }
    return codes;
  }
}
