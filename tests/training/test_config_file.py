import pytest

from n2uq_jax.training.config_file import find_config, load_config


def test_configs_are_found_by_path_and_by_name(tmp_path):
    by_name = find_config("digits_w2a2")
    assert by_name.name == "digits_w2a2.py"
    assert find_config(str(by_name)) == by_name
    mine = tmp_path / "mine.py"
    mine.write_text("def get_config(): return 42\n")
    assert load_config(str(mine)) == 42


def test_an_unknown_config_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"digits_w2a2.*got 'digit'"):
        find_config("digit")


def test_a_file_without_get_config_is_named(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("config = {}\n")
    with pytest.raises(ValueError, match=r"mine\.py has no get_config\(\)"):
        load_config(str(path))
