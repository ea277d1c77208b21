"""The page in Chromium."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

import n2uq_jax as n2uq
from n2uq_jax.predict import read_pixels
from tests.export.formats.html.conftest import NAMES, SHAPE

pytestmark = pytest.mark.extra


def computed(page):
    """Returns the pixels, sums and codes that the page has now."""
    pixels, sums, codes = page.run(
        "(() => { const pixels = currentPixels(); const sums = network.run(pixels);"
        " return [[...pixels], [...sums], layers.map((_, i) => [...network.codes(i)])]; })()"
    )
    return np.array(pixels, np.uint8).reshape(SHAPE), np.array(sums), codes


def check_equal(page, exported):
    """Compares what the page computes with the artifact and its program."""
    pixels, sums, codes = computed(page)
    artifact = n2uq.load_artifact(exported.directory)
    logits = np.asarray(artifact(pixels[None]))[0]
    scale = np.float32(page.run("about.scale"))
    np.testing.assert_array_equal(sums.astype(np.float32) * scale, logits)
    _, expected = exported.program.codes(pixels[None])
    assert len(codes) == len(expected) > 1
    for found, (name, code) in zip(codes, expected.items(), strict=True):
        np.testing.assert_array_equal(found, np.asarray(code).ravel(), err_msg=name)
    assert page.run("element('verdict').textContent").startswith(NAMES[int(logits.argmax())])


def test_its_integers_are_those_of_the_artifact(page, exported, gray_images):
    noise = np.random.default_rng(1).integers(0, 256, (2, *SHAPE)).astype(np.uint8)
    for image in [*gray_images[:2], *noise]:
        page.run(f"take(Uint8Array.from({image.ravel().tolist()}), '')")
        page.settle()
        check_equal(page, exported)


def test_the_manifest_vouches_for_it(exported):
    files = n2uq.load_artifact(exported.directory).manifest["files"]
    assert files["model.html"]["bytes"] == (exported.directory / "model.html").stat().st_size


def test_it_opens_with_a_sample_and_asks_for_nothing(page, exported, gray_images):
    pixels, _, _ = computed(page)
    assert any((pixels == image).all() for image in gray_images)
    assert page.run("document.title") == page.run("document.querySelector('h1').textContent")
    assert page.run("document.title") == "bars & <others>"
    page.press("Tab")
    assert (
        page.requests
        == [(exported.directory / "model.html").as_uri(), "data:,"][: len(page.requests)]
    )
    assert page.messages == []
    went = page.run("fetch('https://127.0.0.1:9/').then(() => 'went', () => 'stayed')")
    assert went == "stayed"
    assert any("Content Security Policy" in message for message in page.messages)


def test_keys_draw(page, exported):
    page.run("element('reset').click(); element('surface').focus()")
    page.settle()
    assert page.run("element('verdict').textContent") == "Nothing to see yet."
    page.press(" ")
    page.press("ArrowDown", "ArrowDown", shift=True)
    page.press("ArrowRight", "ArrowUp", "Enter")
    assert page.run("drawing.strokes.map((s) => s.length)") == [4]
    pixels, _, _ = computed(page)
    # As tall as the ink of the images, and where theirs is.
    rows, columns = (np.flatnonzero(pixels[..., 0].max(axis) > 64) for axis in (1, 0))
    assert (rows.min(), rows.max()) == (1, 9)
    assert abs((columns.min() + columns.max()) / 2 - 4.5) <= 1
    check_equal(page, exported)
    page.press("Delete")
    assert page.run("drawing.strokes.length") == 0
    assert page.run("element('verdict').textContent") == "Nothing to see yet."


def test_a_pointer_draws(page, exported):
    box = page.run("element('surface').getBoundingClientRect().toJSON()")
    left, top, size = box["x"], box["y"], box["width"]
    page.run("element('fit').click()")
    page.drag([(left + size * t, top + size * 0.5) for t in (0.1, 0.3, 0.6, 0.9)])
    pixels, _, _ = computed(page)
    assert pixels[6, 2:8].min() > 200
    assert pixels[:4].max() == 0
    check_equal(page, exported)


def opened(page, image, name="x.png"):
    """Gives the page a file, as dropping or choosing it does; returns the pixels it makes of it."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    page.run(f"open(new File([Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0))], '{name}'))")
    page.settle()
    return computed(page)[0], buffer


@pytest.mark.parametrize("size", [(37, 61), (10, 12), (7, 5), (400, 90)], ids=str)
def test_a_file_becomes_the_pixels_that_predict_reads(page, exported, tmp_path, size):
    random = np.random.default_rng(2)
    # Dark, as the images of the network are: nothing is to be inverted.
    colors = random.integers(0, 120, (size[1], size[0], 3)).astype(np.uint8)
    pixels, file = opened(page, Image.fromarray(colors))
    (tmp_path / "x.png").write_bytes(file.getvalue())
    expected = read_pixels(str(tmp_path / "x.png"), {"resize": SHAPE[:2], "channels": "grey"})
    np.testing.assert_array_equal(pixels, expected)
    assert f"{size[1]}\N{MULTIPLICATION SIGN}{size[0]}" in page.run(
        "element('preparation').textContent"
    )


def test_color_images_are_cropped_as_predict_crops_them(page, tmp_path):
    colors = np.random.default_rng(3).integers(0, 256, (47, 90, 3)).astype(np.uint8)
    preprocessing = {"resize_shorter_side": 33, "center_crop": [28, 25], "channels": "rgb"}
    Image.fromarray(colors).save(tmp_path / "x.png")
    expected = read_pixels(str(tmp_path / "x.png"), preprocessing)
    rgba = np.dstack([colors, np.full(colors.shape[:2], 255, np.uint8)])
    found = page.run(
        f"[...prepareImage({{width: 90, height: 47, data: {rgba.ravel().tolist()}}},"
        " {channels: 3, preparation: {shorterSide: 33, crop: [28, 25]}})]"
    )
    np.testing.assert_array_equal(np.reshape(found, expected.shape), expected)


def test_dark_ink_on_white_is_inverted_and_the_page_says_so(page):
    paper = np.full((24, 20), 250, np.uint8)
    paper[4:20, 4:16] = 10
    pixels, _ = opened(page, Image.fromarray(paper))
    assert pixels[0, 0, 0] == 5
    assert pixels[0].max() == 5
    assert pixels[5, 4, 0] == 245
    assert page.run("element('invert').checked")
    assert "Inverted, since" in page.run("element('preparation').textContent")
    page.run("element('invert').click()")
    page.settle()
    assert computed(page)[0][0, 0, 0] == 250


def test_what_is_no_image_is_refused_in_words(page):
    before = computed(page)[0]
    page.run("open(new File(['no image'], 'notes.txt'))")
    page.settle()
    assert page.run("element('failure').textContent").startswith("notes.txt is no image")
    assert page.run("element('failure').hidden") is False
    np.testing.assert_array_equal(computed(page)[0], before)


@pytest.mark.parametrize("width", [320, 360, 1400])
def test_nothing_is_wider_than_the_window(page, width):
    page.resize(width, 740, mobile=width < 500)
    assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page, scheme):
    page.prefer(prefers_color_scheme=scheme)
    ratios = page.run("""
      (() => {
        const channels = (color) => color.match(/[0-9.]+/g).slice(0, 3).map(Number);
        const luminance = (color) => channels(color)
          .map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (node) => {
          const color = getComputedStyle(node).backgroundColor;
          return color === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : color;
        };
        return [...document.querySelectorAll("h1, h2, p, li span, label, button, figcaption span")]
          .filter((node) => node.textContent && node.checkVisibility())
          .map((node) => {
            const pair = [luminance(getComputedStyle(node).color), luminance(behind(node))];
            return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), node.outerHTML];
          });
      })()
    """)
    assert len(ratios) > 20
    assert min(ratios)[0] >= 4.5, min(ratios)
    dark = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(18, 19, 22)"
    assert dark == (scheme == "dark")


def test_what_takes_keys_has_a_name_and_shows_its_focus(page):
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    focusable = [
        node
        for node in nodes
        if not node["ignored"]
        and any(
            p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", [])
        )
    ]
    names = [node["name"]["value"] for node in focusable]
    assert all(names)
    for name in (
        "Drawing surface",
        "Reset",
        "Choose an image",
        "Sample image 1",
        "Invert the image",
    ):
        assert name in names
    images = [
        node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "image"
    ]
    assert any("maps of codes 0 to 3" in name for name in images)
    for _ in range(6):
        page.press("Tab")
        outline = "(node) => getComputedStyle(node).outlineStyle"
        focused = "document.activeElement"
        visible = page.run(
            f"[{focused}, {focused}.previousElementSibling].filter(Boolean).map({outline})"
        )
        assert "solid" in visible


def test_the_result_is_announced(page):
    page.run("new Promise((done) => setTimeout(done, 700))")
    assert page.run("element('announcement').getAttribute('aria-live')") == "polite"
    assert page.run("element('announcement').textContent").split(", ")[-1].endswith(" %")


def test_less_motion_is_none(page):
    page.prefer(prefers_reduced_motion="reduce")
    duration = "getComputedStyle(document.querySelector('.bar')).transitionDuration"
    assert page.run(duration) == "0s"
    page.prefer()
