from pathlib import Path

import pytest

FILES = {
    "test_a": """
        import pytest

        def test_passes(): pass
        def test_is_skipped(): pytest.skip("no such machine")

        @pytest.mark.xfail
        def test_is_expected_to_fail(): assert False
        """,
    "test_b": "import pytest; pytest.importorskip('nothing_of_this_name')",
}


@pytest.fixture
def outcomes(pytester):
    """Runs a test that passes, one that is skipped, one that may fail and a skipped file."""
    pytester.makeconftest((Path(__file__).parent / "skips.py").read_text())
    pytester.makepyfile(**FILES)

    def outcomes(*options):
        result = pytester.runpytest_inprocess("-p", "no:xdist", "-p", "no:cacheprovider", *options)
        return result.parseoutcomes(), result.stdout.str()

    return outcomes


def test_skips_pass_by_default(outcomes):
    assert outcomes()[0] == {"passed": 1, "skipped": 2, "xfailed": 1}


def test_skips_fail_on_demand(outcomes):
    counts, text = outcomes("--no-skips", "--continue-on-collection-errors")
    assert counts == {"passed": 1, "failed": 1, "errors": 1, "xfailed": 1}
    assert "skipped, under --no-skips: Skipped: no such machine" in text
    assert "could not import 'nothing_of_this_name'" in text
