"""The site builds without a warning and documents every public name."""

import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import n2uq_jax

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "quantizers", "arithmetic", "nn", "models", "conversion", "interop", "data", "export",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    for module in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(module, reason="the extra docs is not installed")
    out = tmp_path_factory.mktemp("site")
    # A process of its own: Sphinx imports everything anew and must not trip over strict warnings.
    result = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"),
            *(str(ROOT / "docs"), str(out)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return out


def text_of(page):
    return re.sub(r"<[^>]+>", "", page.read_text())


def public_names(package):
    module = importlib.import_module(f"n2uq_jax.{package}")
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]


@pytest.mark.extra
@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(site, package):
    page = (site / "api" / f"{package}.html").read_text()
    names = public_names(package)
    assert names
    missing = [name for name in names if f'id="n2uq_jax.{package}.{name}"' not in page]
    assert not missing


@pytest.mark.extra
def test_the_top_level_names_are_listed(site):
    page = text_of(site / "api/n2uq_jax.html")
    for name in [*n2uq_jax._LAZY, "selftest", "models", "nn", "quantizers"]:
        assert name in page


@pytest.mark.extra
@pytest.mark.parametrize(
    ("page", "function", "arguments"),
    [
        ("quantizers", "quantize_activation", ["start", "intervals", "in_scale", "out_scale"]),
        ("nn", "QuantConv", ["in_features", "w_bits", "a_bits", "per_channel", "rngs"]),
        ("linen", "Conv", ["w_bits", "a_bits", "signed"]),
        ("conversion", "calibrate", ["model", "batches", "forward", "batch_norm"]),
        ("export", "export_model", ["model", "directory", "image_shape", "images"]),
        ("training", "train", ["config", "workdir"]),
    ],
)
def test_arguments_are_described(site, page, function, arguments):
    html = (site / "api" / f"{page}.html").read_text()
    (entry,) = re.findall(
        rf'<dt class="sig[^>]*id="n2uq_jax\.[\w.]*\b{function}">(.*?)\n</dd></dl>', html, re.DOTALL
    )
    described = re.findall(r"<strong>([\w*]+)</strong>", entry)
    assert [name for name in described if name in arguments] == arguments
    assert "Parameters" in entry


@pytest.mark.extra
def test_pictures_and_formulas_are_there(site):
    page = (site / "how_n2uq_works.html").read_text()
    for image in re.findall(r'src="(_images/[^"]+)"', page):
        assert (site / image).is_file()
    assert page.count('<div class="math') >= 5


@pytest.mark.extra
def test_pages_are_read_without_a_network(site):
    for path in site.rglob("*.html"):
        page = path.read_text()
        assert not re.search(r'<(script|link)[^>]*(src|href)="(https?:)?//', page), path
    formulas = (site / "how_n2uq_works.html").read_text()
    assert formulas.count("<math") > 20
    assert "\\frac" not in text_of(site / "how_n2uq_works.html")
