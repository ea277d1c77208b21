import base64
import hashlib
import json
import re

import numpy as np
import pytest

from n2uq_jax.export.formats.c.generate import generate
from n2uq_jax.export.formats.html.about import describe_page
from n2uq_jax.export.formats.html.assemble import assemble
from tests.export.formats.c.programs import every_layer

MODULE = b"\0asm\1\0\0\0" + bytes(range(256))


@pytest.fixture
def page():
    build, output = every_layer(0)
    network = build.network(output)
    stored = generate(network).stored
    names = ["</script><script>alert(1)</script>"] * 17
    about = describe_page(network, stored, title="a <b> & c", class_names=names)
    return assemble(about, MODULE), about


def element(page, name):
    (found,) = re.findall(rf"<script[^>]* id=\"{name}\">(.*?)</script>", page, re.DOTALL)
    return found


def test_a_page_refers_to_nothing_outside(page):
    text, _ = page
    assert not re.search(r"https?:|//\w+\.\w|@import|url\(|<iframe|<base", text)
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", text) == ["data:,"]
    assert "fetch(" not in text
    assert "XMLHttpRequest" not in text


def test_its_policy_names_its_script_and_style_alone(page):
    text, _ = page
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].endswith(" 'wasm-unsafe-eval'")
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule].split(" ")[0] == f"'sha256-{digest}'"
    # Which is why nothing may be styled or scripted in place.
    assert not re.search(r"<[^>]* (style|on\w+)=", text.split("<script>")[0])


def test_what_it_works_on_is_inside(page):
    text, about = page
    assert json.loads(element(text, "about")) == about
    assert base64.b64decode(element(text, "module")) == MODULE
    assert "<title>a &lt;b&gt; &amp; c</title>" in text
    assert text.count("<script") == text.count("</script>") == 3


def test_a_page_is_for_phones_and_has_one_heading(page):
    text, _ = page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert text.count("<h1>") == 1
    assert 'aria-live="polite"' in text


def test_nan_is_not_written(page):
    with pytest.raises(ValueError, match="JSON compliant"):
        assemble({**page[1], "scale": np.nan}, MODULE)
