import json

import numpy as np
import pytest

from n2uq_jax.report.curves import draw_curves, read_curves
from n2uq_jax.report.style import BLUE, ORANGE, save


def line(stage="float", kind="train", step=1, **values):
    row = {"stage": stage, "kind": kind, "step": step, "epoch": step / 2}
    return json.dumps(row | {"loss": 1.0, "top1": 0.25, "top5": 0.5} | values) + "\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_stages_and_kinds_in_order(path):
    path.write_text(
        line("warm-up", step=1, loss=3.0)
        + line("warm-up", step=2, loss=2.0)
        + line("warm-up", "eval", step=2, top1=0.5)
        + line("a", step=1, loss=0.5, more=1)
    )
    metrics = read_curves(path)
    assert list(metrics) == ["warm-up", "a"]
    assert {stage: list(kinds) for stage, kinds in metrics.items()} == {
        "warm-up": ["train", "eval"],
        "a": ["train"],
    }
    np.testing.assert_array_equal(metrics["warm-up"]["train"]["loss"], [3, 2])
    np.testing.assert_array_equal(metrics["warm-up"]["train"]["epoch"], [0.5, 1])
    np.testing.assert_array_equal(metrics["warm-up"]["eval"]["top1"], [0.5])


def test_the_last_line_of_a_repeated_step_counts(path):
    path.write_text(line(step=1) + line(step=2, loss=8.0) + line(step=3) + line(step=2, loss=2.0))
    curve = read_curves(path)["float"]["train"]
    np.testing.assert_array_equal(curve["step"], [1, 2, 3])
    np.testing.assert_array_equal(curve["loss"], [1, 2, 1])


def test_a_number_that_was_not_finite(path):
    path.write_text(line(loss=None) + line(step=2))
    np.testing.assert_array_equal(read_curves(path)["float"]["train"]["loss"], [np.nan, 1])


@pytest.mark.parametrize("bad", ["{nonsense\n", '{"stage": "float"}\n'])
def test_a_damaged_line_is_named(path, bad):
    path.write_text(line() + bad + line(step=2))
    with pytest.raises(ValueError, match="line 2, is not a line of metrics"):
        read_curves(path)


def test_no_metrics(path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        read_curves(path)
    path.write_text("")
    with pytest.raises(ValueError, match="no curve to draw"):
        draw_curves(read_curves(path))


def drawn(axes, color):
    return [c.get_ydata() for c in axes.lines if c.get_color() == color and c.get_alpha() is None]


def test_what_is_drawn(path):
    path.write_text(
        line("first", step=1, loss=4.0, top1=0.5)
        + line("first", step=2, loss=0.5, top1=0.75)
        + line("first", "eval", step=2, loss=0.25, top1=0.625)
        + line("second", "eval", step=1, loss=0.0, top1=1.0)
    )
    panels = np.reshape(draw_curves(read_curves(path)).axes, (2, 2))
    assert [axes.get_title(loc="left") for axes in panels[0]] == ["first", "second"]
    assert [axes.get_ylabel() for axes in panels[:, 0]] == ["loss (nats)", "top-1 accuracy (%)"]
    assert panels[1, 0].get_xlabel() == "epoch"
    np.testing.assert_array_equal(drawn(panels[0, 0], BLUE), [[4, 0.5]])
    np.testing.assert_array_equal(drawn(panels[1, 0], BLUE), [[50, 75]])
    np.testing.assert_array_equal(drawn(panels[1, 0], ORANGE), [[62.5]])
    assert [axes.get_yscale() for axes in panels[0]] == ["log", "linear"]
    assert panels[1, 0].get_ylim() == panels[1, 1].get_ylim()
    assert "100.00 %" in panels[1, 1].texts[0].get_text()


def test_losses_of_different_kinds_are_told_apart(path):
    path.write_text(line("first") + line("second"))
    figure = draw_curves(
        read_curves(path), title="resnet8 on digits", teachers={"second": "torchvision/resnet101"}
    )
    titles = [axes.get_title(loc="right") for axes in figure.axes[:2]]
    assert titles == ["loss: against labels", "training loss: against torchvision/resnet101"]
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "resnet8 on digits"
    assert [text.get_text() for text in legend.get_texts()] == [
        "training, running mean",
        "each measurement",
        "evaluation, on labels",
    ]


def test_the_accuracy_axis_leaves_the_first_steps_out(path):
    path.write_text("".join(line(step=i, top1=0.1 if i < 10 else 0.9) for i in range(100)))
    low, high = draw_curves(read_curves(path)).axes[1].get_ylim()
    assert 80 < low < 90 < high < 95


def test_training_is_smoothed_over_a_thirtieth(path):
    path.write_text("".join(line(step=i, loss=1.0 + (i == 60)) for i in range(120)))
    (smooth,) = drawn(draw_curves(read_curves(path)).axes[0], BLUE)
    np.testing.assert_allclose(smooth[57:64], [1, 1.2, 1.2, 1.2, 1.2, 1.2, 1])


def test_a_run_that_diverged_can_be_drawn(path, tmp_path):
    path.write_text(line(loss=None, top1=None) + line("b", "eval", loss=None, top1=None))
    figure = draw_curves(read_curves(path))
    assert figure.axes[3].texts[0].get_text() == "diverged"
    assert save(figure, tmp_path / "new" / "a.png", dpi=20).read_bytes()[:4] == b"\x89PNG"
