"""The command ``n2uq``: finds the verb, runs it, and turns errors into one line."""

import contextlib
import sys
from collections.abc import Sequence
from types import ModuleType

import n2uq_jax
from n2uq_jax.cli import check, evaluate, export, import_, predict, prepare, report, train
from n2uq_jax.cli.compiled import keep_compiled
from n2uq_jax.cli.messages import show_messages
from n2uq_jax.cli.parser import Parser
from n2uq_jax.spelling import similar

VERBS: dict[str, ModuleType] = {
    "train": train,
    "check": check,
    "evaluate": evaluate,
    "import": import_,
    "export": export,
    "predict": predict,
    "report": report,
    "prepare": prepare,
}
"""What each verb's file holds: a docstring (the help: what it does, then examples), ``USAGE``,
``EXTRA`` (of pyproject.toml, where its imports are), ``add_arguments(parser)``, and
``run(arguments)``, which returns the exit code if that is not 0."""

EXPECTED = (ValueError, TypeError, OSError, ImportError, RuntimeError, EOFError)
"""Errors that speak to a user. Others are mistakes in the code and keep their traceback."""

OVERVIEW = """\
usage: n2uq COMMAND [flags]

Very-low-bit neural networks: trained in JAX, shipped as exact integer programs.

commands:
{commands}

examples:
  n2uq train --config digits_w2a2 --workdir runs/digits
  n2uq export --workdir runs/digits --out digits --format stablehlo,onnx

n2uq COMMAND --help says more; n2uq --version says which version this is. Exit codes: 0 for done,
1 for an export that is not equal to its network, 2 for errors. Compiled programs are kept in
JAX_COMPILATION_CACHE_DIR, or else in {folder}.
"""


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
      arguments: a verb and its flags; None for those that the process was started with.

    Returns:
      The exit code: 2 after an error, which standard error tells in one line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    extra = VERBS[words[0]].EXTRA if words and words[0] in VERBS else ""
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("n2uq: interrupted", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if "--debug" in words or isinstance(error, RecursionError):
            raise
        print(f"n2uq: error: {one_line(error, extra)}", file=sys.stderr)
        return 2


def make_parser(verb: str) -> Parser:
    """Makes the parser of a verb.

    Args:
      verb: one of :data:`VERBS`.

    Returns:
      The parser.
    """
    module = VERBS[verb]
    parser = Parser(f"n2uq {verb}", module.USAGE, module.__doc__ or "")
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser


def one_line(error: BaseException, extra: str = "") -> str:
    """Says in one line what an error is.

    Args:
      error: the error.
      extra: of the package, that has what cannot be imported.

    Returns:
      Its message without line breaks.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
    elif isinstance(error, ModuleNotFoundError) and extra:
        text = f"{text}; install it with: pip install 'n2uq_jax[{extra}]'"
    return " ".join(text.split()) or type(error).__name__


def _run(words: list[str]) -> int:
    if words and words[0] in ("-h", "--help"):
        from n2uq_jax.cli.compiled import default_folder

        listed = "\n".join(
            f"  {verb:9} {(module.__doc__ or '').partition(chr(10))[0]}"
            for verb, module in VERBS.items()
        )
        print(OVERVIEW.format(commands=listed, folder=default_folder()), end="")
        return 0
    if words and words[0] == "--version":
        print(f"n2uq_jax {n2uq_jax.__version__}")
        return 0
    if not words or words[0] not in VERBS:
        got = f"{words[0]!r}{similar(words[0], VERBS)}" if words else "none"
        raise ValueError(f"the command must be one of {', '.join(VERBS)}; got {got}")
    arguments = make_parser(words[0]).parse(words[1:])
    with contextlib.ExitStack() as stack:
        stack.enter_context(show_messages())
        keep_compiled()
        return VERBS[words[0]].run(arguments) or 0
