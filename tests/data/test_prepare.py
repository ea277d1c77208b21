import pytest

from n2uq_jax.data.prepare import prepare, prepare_command


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("imagenet2012", "n2uq prepare --manual_dir TARS --data_dir DIR"),
        (
            "imagenet2012:5.1.0",
            "n2uq prepare --data imagenet2012:5.1.0 --manual_dir TARS --data_dir DIR",
        ),
        ("cifar10", "n2uq prepare --data cifar10 --data_dir DIR"),
    ],
)
def test_command(name, command):
    assert prepare_command(name, "DIR") == command


def test_missing_tars_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="manual_dir: None"):
        prepare("imagenet2012", tmp_path)
    (tmp_path / "ILSVRC2012_img_train.tar").touch()
    with pytest.raises(FileNotFoundError, match=r"no file .*ILSVRC2012_img_val\.tar"):
        prepare("imagenet2012", tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
