import pytest

from n2uq_jax.data.prepare import main, prepare, prepare_command


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("imagenet2012", "python -m n2uq_jax.data.prepare --manual_dir TARS --data_dir DIR"),
        (
            "imagenet2012:5.1.0",
            "python -m n2uq_jax.data.prepare "
            "--name imagenet2012:5.1.0 --manual_dir TARS --data_dir DIR",
        ),
        ("cifar10", "python -m n2uq_jax.data.prepare --name cifar10 --data_dir DIR"),
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


def test_command_line_reports_missing_tars(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--manual_dir", str(tmp_path), "--data_dir", str(tmp_path)])
    assert "ILSVRC2012_img_train.tar; get it from" in capsys.readouterr().err
