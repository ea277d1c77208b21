"""The README's Python runs when pasted block after block, beside what its commands leave."""

import re
from pathlib import Path

import pytest

from n2uq_jax.cli.command import run

README = Path(__file__).parents[2] / "README.md"

BRIEF = [
    *("--config.model.width=4", "--config.model.stem_stride=2", "--config.float.epochs=0.2"),
    *("--config.quantized.epochs=0.2", "--config.integer.epochs=0.2"),
    *("--config.figures=False", "--config.export=False"),
]


@pytest.mark.slow  # trains, exports, makes a ResNet-18
def test_blocks_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--config=digits_w2a2", "--workdir=runs/digits_w2a2", *BRIEF]) == 0
    assert run(["export", "--workdir=runs/digits_w2a2", "--out=digits", "--images=10"]) == 0
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    capsys.readouterr()
    names = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert "exact" in capsys.readouterr().out
    assert names["y"].shape == (8, 32, 32, 32)
    assert names["logits"].shape == (7, 10)
    assert names["q"](names["batches"][0]).shape == (8, 32, 32, 32)


@pytest.mark.parametrize("what", ["quickstart", "tests"])
def test_the_two_commands_are_one_line_each(what):
    marker = {"quickstart": "n2uq train --config digits_w2a2", "tests": "python -m pytest\n"}[what]
    (line,) = (
        line
        for block in re.findall(
            r"^```bash\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE
        )
        for line in block.splitlines(keepends=True)
        if marker in line
    )
    assert line.startswith("python -m venv .venv && .venv/bin/pip install -e '.[")
