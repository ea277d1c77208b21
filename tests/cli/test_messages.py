import logging

import pytest

from n2uq_jax.cli.messages import show_messages


def speak():
    for name in ("absl", "jax._src.xla_bridge", "orbax.checkpoint", "n2uq_jax.training"):
        for level in (logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "says %d", level)


def test_our_messages_are_shown_and_only_errors_of_others(capsys):
    with show_messages():
        speak()
    assert capsys.readouterr().err.splitlines() == [
        "absl: error: says 40",
        "jax._src.xla_bridge: error: says 40",
        "orbax.checkpoint: error: says 40",
        "n2uq: says 20",
        "n2uq: warning: says 30",
        "n2uq: error: says 40",
    ]


def test_logging_is_as_before_afterwards(capsys):
    names = (None, "n2uq_jax", "absl")
    before = [logging.getLogger(name).level for name in names]
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(ValueError, match="inside"), show_messages():
        raise ValueError("inside")
    assert [logging.getLogger(name).level for name in names] == before
    assert logging.getLogger().handlers == handlers
    speak()
    assert capsys.readouterr().err == ""
