import pytest
from matplotlib.lines import Line2D

from n2uq_jax.report.style import BLUE, add_legend, new_figure, save, style_axes


@pytest.fixture
def figure():
    figure = new_figure(3, 2)
    style_axes(figure.subplots())
    add_legend(figure, [Line2D([], [], color=BLUE, label="training")])
    return figure


def test_a_picture_has_the_size_and_the_legend_it_was_given(figure, tmp_path):
    path = save(figure, tmp_path / "new" / "a.png", dpi=20)
    contents = path.read_bytes()
    assert contents[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(contents[i : i + 4]) for i in (16, 20)] == [60, 40]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training"]
    spines = figure.axes[0].spines
    assert [spines[side].get_visible() for side in ("left", "top")] == [True, False]


def test_a_picture_is_whole_or_absent(figure, tmp_path, monkeypatch):
    def fail(file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
