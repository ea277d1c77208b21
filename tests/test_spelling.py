from n2uq_jax.spelling import similar


def test_suggestions_ignore_dashes_and_underscores():
    assert similar("--data-dir", ["--data_dir", "--data"]) == "; did you mean --data_dir?"
    assert similar("-workdr", ["--workdir"]) == "; did you mean --workdir?"
    assert similar("--colour", ["--workdir"]) == ""
