"""A network that a page can draw for, and the page in a browser."""

import shutil

import numpy as np
import pytest

from n2uq_jax.export import export_model
from tests.export import integer_network
from tests.export.formats.html.browser import Browser

SHAPE = (12, 10, 1)
NAMES = ["one", "two", "<three>", "four & a half", "five, of a name that is very long " * 2]


@pytest.fixture(scope="session")
def gray_images():
    """Bright bars on dark, where the second to ninth column are."""
    random = np.random.default_rng(0)
    images = np.zeros((20, *SHAPE), np.uint8)
    images[:, 1:10, 2:8] = random.integers(0, 256, (20, 9, 6, 1))
    images[:, 1:10, 2], images[:, 1:10, 7] = 255, 255
    return images


@pytest.fixture(scope="session")
def exported(gray_images, tmp_path_factory):
    """An artifact with a page."""
    for command in ("clang", "wasm-ld", "chromium"):
        if shutil.which(command) is None:
            pytest.skip(f"no {command}")
    parameters = integer_network.parameters(channels=1)
    return export_model(
        (integer_network.network, parameters),
        tmp_path_factory.mktemp("page") / "artifact",
        image_shape=SHAPE,
        images=gray_images,
        formats=("stablehlo", "html"),
        preprocessing={"resize": SHAPE[:2], "channels": "grey", "mean": [0.5], "std": [0.5]},
        class_names=NAMES,
        title="bars & <others>",
    )


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A browser; skips without Chromium."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser, exported):
    """The page in the browser, as it is when it was just opened."""
    browser.resize(1000, 800)
    browser.open(exported.directory / "model.html")
    return browser
