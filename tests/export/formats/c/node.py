"""Networks in Node.js, by the page's own code."""

import base64
import json
import subprocess
from importlib import resources

import numpy as np

from n2uq_jax.export.formats.c.generate import Source, generate
from n2uq_jax.export.formats.c.layers import LayerList
from n2uq_jax.export.formats.c.tensors import tensors
from n2uq_jax.export.formats.c.webassembly import to_webassembly

RUN = """
const { wasm, about, images } = JSON.parse(require("fs").readFileSync(0));
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const network = new Network(new WebAssembly.Module(bytes(wasm)), about);
const { memory, model_kernel_name, model_run_with, model_workspace_size } = network.exports;
const options = memory.buffer.byteLength;
memory.grow(1);
// The page's run is that without options.
const runs = { "": images.map((image) => ({
  sums: [...network.run(bytes(image))],
  codes: about.layers.map((_, i) => [...network.codes(i)]),
})) };
for (let i = 0, name; (name = model_kernel_name(i)); i++) {
  new Int32Array(memory.buffer, options, 2).set([1, name]);
  network.exports = { ...network.exports, memory,
    model_run: (...rest) => model_run_with(options, ...rest) };
  const text = new Uint8Array(memory.buffer, name);
  const kernel = Buffer.from(text.slice(0, text.indexOf(0))).toString();
  runs[kernel] = images.map((image) => ({ sums: [...network.run(bytes(image))], codes: [] }));
}
console.log(JSON.stringify(runs));
"""


def run_in_node(network: LayerList, kept: list[str], images: np.ndarray, flags=()):
    """Computes images one after another.

    Args:
      network: the layers.
      kept: tensors of unsigned bytes that are returned, too.
      images: uint8, shape ``(batch, height, width, channels)``.
      flags: of the compiler.

    Returns:
      Sums by the kernel that was asked for, none being "", shape ``(batch, classes)``; and a list
      of the kept tensors.
    """
    source = generate(network, kept=kept)
    height, width, channels = network.image_shape
    about = {
        "height": height,
        "width": width,
        "channels": channels,
        "classes": tensors(network)[network.output].shape[2],
        "layers": [_place(source, name) for name in kept],
    }
    work = {
        "wasm": base64.b64encode(to_webassembly(source, flags=flags)).decode(),
        "about": about,
        "images": [base64.b64encode(image.tobytes()).decode() for image in images],
    }
    page = resources.files("n2uq_jax.export.formats.html") / "page"
    result = subprocess.run(
        ["node", "-e", (page / "network.js").read_text() + RUN],
        input=json.dumps(work),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not result.returncode, result.stderr
    runs = json.loads(result.stdout)
    shapes = [source.stored[name].tensor.shape for name in kept]
    codes = [
        np.array([run["codes"][i] for run in runs[""]]).reshape(-1, *shape)
        for i, shape in enumerate(shapes)
    ]
    sums = {kernel: np.array([run["sums"] for run in found]) for kernel, found in runs.items()}
    return sums, codes


def _place(source: Source, name: str) -> dict:
    stored = source.stored[name]
    height, width, channels = stored.tensor.shape
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "element": stored.element,
        "pitch": stored.pitch,
        "offset": stored.offset,
    }
