"""What the pages tell a reader to do can be done: their code runs, their commands exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from n2uq_jax.cli.command import VERBS, make_parser
from n2uq_jax.training.config_file import find_config, load_config

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "launch/README.md"))]

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXPECTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


def blocks(page):
    """Returns the fenced blocks of a page as (language, text)."""
    return FENCE.findall(page.read_text())


def with_python(pages):
    return [page for page in pages if any(language == "python" for language, _ in blocks(page))]


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.slow  # some of them train
@pytest.mark.parametrize("page", with_python(DOCS), ids=name)
def test_python_runs_and_prints_what_it_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    printed = ""
    for language, text in blocks(page):
        if language == "text":  # what the block before it prints
            assert text.strip() in printed
        if language != "python":
            continue
        exec(compile(text, name(page), "exec"), namespace)
        printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
        for expected in EXPECTED.findall(text):
            assert expected in printed.splitlines()


def commands(page):
    """Returns each mention of a command of ours, in blocks and inline, as (what is run, words)."""
    text = page.read_text().replace("\\\n", " ")
    found = re.findall(
        r"(?:python -m (n2uq_jax\.[\w.]*)|(launch/\w+\.\w+)|(?<![\w.])n2uq ([a-z]+)\b)([^`|&;\n]*)",
        text,
    )
    return [
        (module or script or verb, shlex.split(rest))
        for module, script, verb, rest in found
        if module or script or verb in VERBS
    ]


def flags_of(verb):
    """Returns the flags of a verb, or of the module that stands for it, without their dashes."""
    module = verb.removeprefix("n2uq_jax.")
    parser = make_parser({"main": "train", "convert": "import"}.get(module, module))
    return {flag.lstrip("-") for flag in parser.flags()}


def has_field(path):
    config = load_config("digits_w2a2")
    *parents, last = path.split(".")
    for parent in parents:
        config = config[parent]
    return last in config


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_commands_name_what_exists(page):
    for run, words in commands(page):
        if run.startswith("launch/"):
            script = (ROOT / run).read_text()
            known = flags_of("n2uq_jax.main") | set(re.findall(r"--([\w-]+)", script))
        else:
            known = flags_of(run)
        for word, following in zip(words, [*words[1:], ""], strict=False):
            flag, _, value = word.partition("=")
            if flag.startswith("--config."):
                assert has_field(flag.removeprefix("--config.")), word
            elif flag.startswith("--") and flag != "--":
                assert flag.removeprefix("--") in known, f"{run} {word}"
            if flag == "--config" and not (value or following).isupper():
                assert find_config(str(value or following)).is_file()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_and_extras_that_are_named_exist(page):
    text = page.read_text()
    for path in re.findall(r"\b(?:benchmarks|configs|launch|docs)/[\w/]+\.\w+", text):
        if path != "configs/NAME.py":
            assert (ROOT / path).is_file(), path
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for names in re.findall(r"'\.\[([\w,]+)\]'", text):
        assert set(names.split(",")) <= set(extras)


def test_unknown_flags_and_fields_would_be_noticed():
    assert "workdir" in flags_of("n2uq_jax.main")
    assert "out" in flags_of("n2uq_jax.export")
    assert "manual_dir" in flags_of("prepare")
    assert has_field("quantized.epochs")
    assert not has_field("quantized.epoch")
    assert len(commands(ROOT / "docs/train_on_imagenet.md")) > 5
