"""The tree is as CONTRIBUTING says: imports run one way, tests mirror it, docstrings are whole."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "n2uq_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
ENTRIES = {"main.py", "evaluate.py", "convert.py", "__main__.py"}

UNMIRRORED = {
    **dict.fromkeys(
        [f"cli/{verb}.py" for verb in ("export", "import_", "predict", "prepare", "report")]
        + ["cli/train.py", "cli/evaluate.py", "cli/check.py"],
        "tests/cli/test_command.py runs every verb and flag",
    ),
    **dict.fromkeys(
        [f"export/formats/c/{part}.py" for part in ("interpreter", "plan", "weights", "layers")]
        + [f"export/formats/c/{part}.py" for part in ("constants", "convolution", "declarations")],
        "tests/export/formats/c/test_kernels.py and test_generate.py run what they make",
    ),
    **dict.fromkeys(
        ["export/__main__.py", "report/__main__.py"], "tests/test___main__.py runs every entry"
    ),
    **dict.fromkeys(
        ["export/formats/c/expressions.py", "export/formats/c/integer_lowering.py"],
        "tests/export/formats/c/test_lowering.py follows integers",
    ),
    "export/formats/c/arithmetic.py": "tests/export/formats/c/test_float_lowering.py runs it",
    "models/to_integer.py": "tests/models/integer/test_networks.py converts networks",
}
"""Modules without a test file of their own, and why."""


def name(path):
    return str(path.relative_to(PACKAGE))


def allowed():
    """Reads CONTRIBUTING's table: what each part may import, with all that those may import."""
    rows = re.findall(
        r"^\| `n2uq_jax/([\w.]+)` \|[^|]*\| ([^|]*) \|$",
        (ROOT / "CONTRIBUTING.md").read_text(),
        re.MULTILINE,
    )
    direct = {part: set(re.findall(r"`([\w.]+)`", names)) for part, names in rows}

    def closure(part):
        return {part}.union(*(closure(other) for other in direct[part]))

    return {part: closure(part) for part in direct}


def part_of(dotted):
    """The row of the table that a module belongs to, given its name below ``n2uq_jax``."""
    first = dotted.split(".")[0]
    return first if (PACKAGE / first).is_dir() else f"{first}.py"


def imports(tree):
    """Lists the modules of ours that are imported, but for those that an entry's last lines run."""
    found = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "n2uq_jax":
            found += [alias.name for alias in node.names if not alias.name.startswith("__")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("n2uq_jax."):
            found.append(node.module.removeprefix("n2uq_jax."))
        elif isinstance(node, ast.Import):
            found += [
                alias.name.removeprefix("n2uq_jax.")
                for alias in node.names
                if alias.name.startswith("n2uq_jax.")
            ]
        waiting += ast.iter_child_nodes(node)
    return found


def test_every_part_has_a_row():
    parts = {part_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts)) for path in MODULES}
    assert parts - ENTRIES - {"__init__.py"} == set(allowed())


@pytest.mark.parametrize("part", allowed())
def test_imports_run_one_way(part):
    may = allowed()[part]
    folder = PACKAGE / part
    for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
        if path.name == "__main__.py":
            continue
        for module in imports(ast.parse(path.read_text())):
            assert part_of(module) in may, f"{name(path)} imports n2uq_jax.{module}"


def test_a_forbidden_import_would_be_noticed():
    assert imports(ast.parse("def f():\n    from n2uq_jax.cli import command")) == ["cli"]
    assert imports(ast.parse("from n2uq_jax import nn, __version__")) == ["nn"]
    assert imports(ast.parse("import n2uq_jax.export.proof.proof as p")) == ["export.proof.proof"]
    assert "cli" not in allowed()["training"]
    assert "quantizers" in allowed()["models"]


def test_every_module_has_a_test_file():
    missing = {
        name(path)
        for path in MODULES
        if path.name != "__init__.py"
        and name(path) not in ENTRIES
        and not (ROOT / "tests" / path.relative_to(PACKAGE).parent / f"test_{path.name}").is_file()
    }
    assert sorted(missing) == sorted(UNMIRRORED)


def public(body, prefix=""):
    """Yields the public classes and functions of a module or class, with their names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def arguments(node):
    """Lists the arguments that a caller of a function names."""
    spec = node.args
    named = [a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    named += [a.arg for a in (spec.vararg, spec.kwarg) if a]
    return [argument for argument in named if argument not in ("self", "cls")]


def returns(node):
    """Tells whether a function returns something, by its annotation."""
    return node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn")


def lacks(node):
    """Says what the docstring of a class or function lacks."""
    text = ast.get_docstring(node)
    if not text:
        return ["a docstring"]
    if isinstance(node, ast.ClassDef):
        return []
    entries = re.findall(r"^  ([\w*, ]+):", text, re.MULTILINE)
    described = {word for entry in entries for word in re.split(r"[,*\s]+", entry)}
    faults = [f"Args: {argument}" for argument in arguments(node) if argument not in described]
    told = re.search(r"^(Returns|Yields|Whether|Says whether|Tells whether)\b", text, re.MULTILINE)
    decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    if returns(node) and not told and "property" not in decorators:
        faults.append("Returns")
    return faults


def bases(node, classes):
    """Yields the classes of ours that a class inherits from, near ones first."""
    for base in node.bases if isinstance(node, ast.ClassDef) else []:
        for found in classes.get(ast.unparse(base).split("[")[0].split(".")[-1], []):
            if found.name != node.name:  # Flax's class may have the name of ours
                yield found
                yield from bases(found, classes)


def inherits(qualified, module, classes):
    """Tells whether a base class documents a method."""
    owner, _, method = qualified.rpartition(".")
    return any(
        isinstance(inherited, ast.FunctionDef) and inherited.name == method and not lacks(inherited)
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and node.name == owner
        for base in bases(node, classes)
        for inherited in base.body
    )


@pytest.fixture(scope="module")
def classes():
    """Every class of the package, by name."""
    found = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


@pytest.fixture(scope="module")
def exported():
    """The names that packages offer."""
    return {
        alias.name
        for path in PACKAGE.rglob("__init__.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def is_short(node):
    """Tells whether a function is so short that one sentence says all of it."""
    statements = (inner for part in node.body[1:] for inner in ast.walk(part))
    return isinstance(node, ast.FunctionDef) and (
        sum(isinstance(statement, ast.stmt) for statement in statements) <= 3
    )


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_docstrings_describe_arguments_and_results(path, classes, exported):
    module = ast.parse(path.read_text())
    faults = [
        f"{path.relative_to(ROOT)}:{node.lineno} {qualified} lacks {', '.join(found)}"
        for qualified, node in public(module.body)
        if (found := lacks(node)) and not inherits(qualified, module, classes)
        if qualified.split(".")[0] in exported or found == ["a docstring"] or not is_short(node)
    ]
    assert not faults, "\n".join(faults)


def test_a_thin_docstring_would_be_noticed():
    source = """
def f(x, *rest) -> int:
    '''Does it.

    Args:
      x: of it.
    '''
"""
    ((_, function),) = public(ast.parse(source).body)
    assert lacks(function) == ["Args: rest", "Returns"]
