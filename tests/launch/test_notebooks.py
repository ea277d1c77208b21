"""The notebooks run top to bottom here, and were committed as they ran."""

import base64
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="the extra notebooks is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra notebooks is not installed")

pytestmark = pytest.mark.extra

FOLDER = Path(__file__).parents[2] / "launch" / "colab"
NOTEBOOKS = ("quickstart", "your_own_model")


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def printed(notebook):
    return "".join(output.get("text", "") for output in outputs(notebook))


def pictures(notebook):
    """The PNG pictures of a notebook, decoded."""
    data = [output.get("data", {}).get("image/png") for output in outputs(notebook)]
    return [base64.b64decode(png) for png in data if png is not None]


def percentages(text, label):
    return [float(number) for number in re.findall(rf"^{label}: ([\d.]+)%$", text, re.MULTILINE)]


@pytest.fixture(params=NOTEBOOKS)
def committed(request):
    return read(request.param)


def test_there_are_no_others():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NOTEBOOKS)


def test_committed_outputs_are_those_of_one_clean_run(committed):
    assert all(png.startswith(b"\x89PNG") for png in pictures(committed))
    assert len(pictures(committed)) >= 1
    assert len(nbformat.writes(committed)) < 400_000
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(committed)} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert all(output.get("name", "stdout") == "stdout" for output in outputs(committed))
    assert not re.search(r"Warning|Traceback|/home/|/root/|/tmp/", printed(committed))


def test_starts_with_a_badge_and_installs_what_is_missing(committed):
    badge, install = committed.cells[0].source, committed.cells[1].source
    assert badge.startswith("[![Open in Colab](https://colab.research.google.com/")
    assert re.search(r"blob/main/launch/colab/(\w+)\.ipynb\)", badge)[1] in NOTEBOOKS
    assert 'find_spec("n2uq_jax") is None' in install
    assert "%pip install" in install


def execute(name, folder):
    notebook = read(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    ).execute()
    return notebook


@pytest.mark.slow  # trains
def test_quickstart_runs(tmp_path):
    notebook = execute("quickstart", tmp_path)
    text = printed(notebook)
    assert "integer program on cpu: EQUAL to the network" in text
    assert "integer-only program on cpu: EQUAL to the network" in text
    assert percentages(text, "integers alone")[0] > 93
    assert "the network's answer on 355 of 355 images" in text
    (start,), (floating,) = percentages(text, "as it starts"), percentages(text, "float")
    (calibrated,), (trained,) = percentages(text, "calibrated"), percentages(text, "trained")
    assert start < calibrated
    assert floating > 95
    assert trained > 95
    assert percentages(text, "integer model") == [trained]
    assert [len(pictures(n)) for n in (notebook, read("quickstart"))] == [2, 2]
    assert (tmp_path / "digits_w2a2" / "manifest.json").is_file()


@pytest.mark.slow  # trains
def test_your_own_model_runs(tmp_path):
    notebook = execute("your_own_model", tmp_path)
    text = printed(notebook)
    assert text.count("integer program on cpu: EQUAL to the network") == 2
    for label in ("float", "fine-tuned"):
        assert len(percentages(text, label)) == 2
        assert min(percentages(text, label)) > 93
    converted, calibrated = (percentages(text, s) for s in ("converted", "calibrated"))
    assert all(a < b for a, b in zip(converted, calibrated, strict=True))
    assert percentages(text, "integer model") == percentages(text, "fine-tuned")[1:]
    assert len(pictures(notebook)) == len(pictures(read("your_own_model"))) == 1
    assert (tmp_path / "cnn" / "manifest.json").is_file()
