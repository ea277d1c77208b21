"""What a misspelt word may have meant."""

import difflib
from collections.abc import Iterable


def similar(word: str, known: Iterable[str]) -> str:
    """Says what a misspelt word may have meant.

    Args:
      word: what came; leading dashes, and the kind of dashes inside, do not count.
      known: what there is.

    Returns:
      A clause such as ``"; did you mean --workdir?"``, empty if nothing is alike.
    """
    plain = {name.lstrip("-").replace("_", "-"): name for name in known}
    close = difflib.get_close_matches(word.lstrip("-").replace("_", "-"), plain, n=1, cutoff=0.6)
    return f"; did you mean {plain[close[0]]}?" if close else ""
