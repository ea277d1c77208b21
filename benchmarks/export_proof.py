"""Proves the export of the paper's networks: every accumulator, then a thousand images.

The parameters are random and unkind: negative, zero and tiny BatchNorm gains, negative slopes.

    python benchmarks/export_proof.py --model resnet18 --bits 2
"""

import argparse
import resource
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import n2uq_jax as n2uq
from n2uq_jax.export import export_model

NETWORKS = ("resnet18", "resnet34", "resnet50", "mobilenet_v2")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", default=NETWORKS)
    parser.add_argument("--bits", nargs="+", type=int, default=[2, 4])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    arguments = parser.parse_args()
    print(
        "| network | bits | folded | accumulators | kinds of channels | codes compared | differ "
        "| top-1 differ | logits differ by | most of one code | weights, bits each | artifact, MB "
        "| ratio | seconds | CPU seconds | peak GB |"
    )
    print("|---" * 16 + "|")
    for name in arguments.model:
        for bits in arguments.bits:
            print(row(name, bits, arguments.images, arguments.size), flush=True)


def row(name: str, bits: int, count: int, size: int) -> str:
    model = n2uq.models.create(name, w_bits=bits, a_bits=bits, rngs=nnx.Rngs(0))
    make_unkind(model, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    images = rng.normal(size=(count, size, size, 3)).astype(np.float32)
    begin, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        exported = export_model(
            model, f"{folder}/artifact", image_shape=images.shape[1:], images=images
        )
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    proof, program, sizes = exported.proof, exported.program, exported.report["size"]
    kinds: dict[str, int] = {}
    for edge in proof.edges:
        for kind, channels in edge.channels.items():
            kinds[kind] = kinds.get(kind, 0) + channels
    weights = sum(a.size for k, a in program.tensors.items() if k.endswith("/weight"))
    wrong = proof.data.differing + sum(edge.differing for edge in proof.edges)
    cells = [
        name,
        bits,
        f"{len(program.folded)} of {len(program.folded) + len(program.unfolded)}",
        f"{proof.values:,}",
        ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())),
        f"{sum(layer.codes for layer in proof.data.layers.values()):,}",
        wrong,
        proof.data.differing_top1,
        f"{proof.data.largest_logit_difference:g}",
        f"{max(layer.largest_share for layer in proof.data.layers.values()):.1%}",
        f"{8 * sizes['weights'] / weights:.3f}",
        f"{sizes['artifact'] / 1e6:.2f}",
        f"{sizes['float32'] / sizes['artifact']:.1f}",
        f"{seconds:.0f}",
        f"{cpu:.0f}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f}",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def make_unkind(model: nnx.Module, rng: np.random.Generator) -> None:
    """Replaces what a channel's arithmetic depends on by values that break careless exporters."""
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        layer, name = str(path[-2]), str(path[-1])
        shape = variable[...].shape
        if layer in ("norm", "last_norm") and name == "scale":
            value = rng.normal(size=shape)
            value[:4] = [0, 1e-6, -1e-6, -1]
        elif name == "mean":
            value = rng.normal(0, 0.3, shape)
        elif name == "var":
            value = rng.uniform(0.2, 2, shape)
        elif name == "slope":
            value = rng.uniform(-0.5, 0.5, shape)
        elif name.startswith("bias"):
            value = rng.normal(0, 0.3, shape)
        else:
            continue
        variable[...] = jnp.asarray(value, jnp.float32)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
