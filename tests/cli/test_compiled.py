import jax
import pytest

from n2uq_jax.cli.compiled import LEAST_SECONDS, default_folder, keep_compiled

FOLDER, SECONDS = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"


@pytest.fixture(autouse=True)
def restored():
    """Puts the settings of the other tests back."""
    before = {name: jax.config.values[name] for name in (FOLDER, SECONDS)}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", raising=False)
    jax.config.update(FOLDER, None)
    return tmp_path


def test_programs_are_kept_in_the_cache_folder(home):
    assert default_folder() == home / "n2uq_jax" / "compiled"
    keep_compiled()
    assert jax.config.values[FOLDER] == str(default_folder())
    assert default_folder().is_dir()
    assert jax.config.values[SECONDS] == LEAST_SECONDS


def test_another_folder_is_left_alone(home):
    jax.config.update(FOLDER, "elsewhere")
    keep_compiled()
    assert jax.config.values[FOLDER] == "elsewhere"
    assert not default_folder().exists()


def test_without_a_place_there_is_no_cache(home):
    (home / "n2uq_jax").write_text("a file")
    keep_compiled()
    assert jax.config.values[FOLDER] is None


def test_the_default_is_below_home(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(default_folder()) == "/home/somebody/.cache/n2uq_jax/compiled"
