from n2uq_jax.tables import format_table


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("name", "n"), ("a", "10"), ("longer", "5")]
    assert format_table(rows) == "name    n\na       10\nlonger  5"
    assert format_table(rows, right=(1,)) == "name     n\na       10\nlonger   5"
