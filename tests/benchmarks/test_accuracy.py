"""The study of accuracy: what it runs, what it skips, and its statistics."""

import argparse
import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from n2uq_jax.data.idx import read_idx_folder

FOLDER = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("study")


@pytest.fixture
def table(study):
    return importlib.import_module("table")


def line(variant, seed, top1, bits=2, **changes):
    shared = {
        "network": "resnet8",
        "width": 4,
        "stem_stride": 2,
        "split": "test",
        "images": 20,
        "batch_size": 4,
    }
    shared |= {"float_epochs": 1.0, "epochs": 1.0, "float_top1": 0.9, "cpu_seconds": 10.0}
    shared["thresholds"] = {}
    return {"variant": variant, "bits": bits, "seed": seed, "top1": top1, **shared, **changes}


def test_estimates_by_hand(table):
    e = table.estimate([1, 2, 3])
    assert (e.mean, e.count) == (2, 3)
    assert e.error == pytest.approx(1 / math.sqrt(3))
    assert e.half_width == pytest.approx(4.303 / math.sqrt(3))
    assert math.isnan(table.estimate([5]).error)


def test_differences_are_paired_by_seed(table):
    # Seeds differ by ten points, variants of one seed by one: pairing sees the one.
    tops = {"n2uq": (0.70, 0.80, 0.90), "lsq": (0.69, 0.79, 0.89)}
    runs = table.grouped(line(v, s, t) for v, ts in tops.items() for s, t in enumerate(ts))
    runs[2, "lsq"][7] = line("lsq", 7, 0.1)  # has no partner
    e = table.difference(runs, (2, "n2uq"), (2, "lsq"))
    assert (e.mean, e.count) == (pytest.approx(1), 3)
    assert e.half_width == pytest.approx(0, abs=1e-9)
    del runs[2, "lsq"][7]
    first, best, second = table.rows(runs)
    assert first[3] == "90.00 ± 0.00"
    assert best[:4] == ["n2uq", "2", "3", "80.00 ± 5.77"]
    assert second[4] == "-1.00 [-1.00, -1.00]"
    assert table.draw(runs).axes[0].get_yticklabels()[-1].get_text() == "n2uq, 2 bits"


def test_how_far_thresholds_are_from_where_they_began(table):
    # Two bits: 1/3, 1 and 5/3, where a step of the output is 2/3.
    thresholds = {"a": [1 / 3, 1, 5 / 3], "b": [1 / 3 + 0.2, 1, 5 / 3 - 0.2]}
    assert table.moved({"thresholds": thresholds}) == pytest.approx(0.4 / (2 / 3) / 6)
    assert math.isnan(table.moved({"thresholds": {}}))


def test_runs_of_two_settings_are_no_comparison(table):
    with pytest.raises(ValueError, match="results hold runs of"):
        table.grouped([line("n2uq", 0, 0.7), line("lsq", 0, 0.7, epochs=2.0)])


def arguments(tmp_path, **changes):
    images = np.random.default_rng(0).integers(0, 256, (12, 5, 5, 1)).astype(np.uint8)
    labels = np.arange(12) % 3
    (tmp_path / "idx").mkdir(exist_ok=True)
    study = importlib.import_module("study")
    study.write_split(tmp_path / "idx", "train", images, labels)
    study.write_split(tmp_path / "idx", "t10k", images[:4], labels[:4])
    given = {"out": str(tmp_path / "out"), "data": str(tmp_path / "idx"), "variants": ["n2uq"]}
    given |= {"bits": [2], "seeds": [0, 1], "split": "test", "network": "resnet8", "width": 4}
    given |= {"stem_stride": 2, "images": 6, "batch_size": 2, "float_epochs": 1.0, "epochs": 1.0}
    return argparse.Namespace(**given | {"eval_every": 1} | changes)


def test_held_out_images_are_training_images_that_are_not_trained_on(study, tmp_path):
    whole, test = read_idx_folder(Path(arguments(tmp_path).data))
    for split in ("test", "held_out"):
        train, evaluation = read_idx_folder(study.data_folder(arguments(tmp_path, split=split)))
        assert (len(train), len(evaluation)) == (6, 4)
        if split == "test":
            np.testing.assert_array_equal(evaluation.images, test.images)
        else:
            seen = {image.tobytes() for image in (*train.images, *evaluation.images)}
            assert len(seen) == 10
            assert seen <= {image.tobytes() for image in whole.images}


def test_goes_on_where_it_was_stopped_and_names_each_run(study, tmp_path, monkeypatch):
    begun = []

    def run(config, workdir):
        begun.append((config.stages[0], config.seed, config.quantized.quantizer_lr_factor))
        workdir.mkdir(parents=True, exist_ok=True)
        measured = {"stage": "s", "kind": "eval", "step": 1, "epoch": 1.0, "top1": 0.5, "loss": 1.0}
        (workdir / "metrics.jsonl").write_text(json.dumps(measured) + "\n")
        return 1.0, 1.0

    monkeypatch.setattr(study, "run", run)
    monkeypatch.setattr(study, "learned_thresholds", lambda workdir: {})
    study.study(arguments(tmp_path, seeds=[0]))
    assert begun == [("float", 0, 0.1), ("quantized", 0, 0.1)]
    begun.clear()
    study.study(arguments(tmp_path, variants=["n2uq", "n2uq@1", "float"], seeds=[0]))
    study.study(arguments(tmp_path, variants=["float"], bits=[2, 3], seeds=[0]))
    assert [b for b in begun if b[0] == "quantized"] == [("quantized", 0, 1), ("quantized", 0, 0.1)]
    lines = study.read_results(tmp_path / "out" / "results.jsonl")
    assert [(r["variant"], r["bits"]) for r in lines] == [("n2uq", 2), ("n2uq@1", 2), ("float", 32)]
    assert lines[1]["config"]["quantized.quantizer_lr_factor"] == 1


def test_an_unknown_variant_is_named(study):
    with pytest.raises(SystemExit, match=r"variants must be of float, n2uq, .* got 'lqs'"):
        study.variant_changes("lqs@1")
