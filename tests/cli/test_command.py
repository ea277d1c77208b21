"""Every bad command line ends in one line and exit code 2; help fits a screen."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import n2uq_jax as n2uq
from n2uq_jax.cli import command
from n2uq_jax.cli.command import VERBS, one_line, run

ROOT = Path(__file__).parents[2]

TRAIN = "train --config digits_w2a2 --workdir new"
IMPORT = "import --arch resnet8 --data digits --workdir new"
EXPORT = "export --workdir run --out new"

# What is typed, and what the error says. The folder that it runs in is made below.
BAD = [
    # The verb.
    (
        "",
        "command must be one of train, check, evaluate, import, export, predict, report, prepare",
    ),
    ("trian", "got 'trian'; did you mean train"),
    ("eval", "did you mean evaluate"),
    ("--workdir run", "the command must be one of"),
    ("convert --arch resnet8", "the command must be one of"),
    # Flags that are unknown, missing, or lack something.
    ("train --wrkdir new", "unknown flag --wrkdir; did you mean --workdir"),
    ("train -workdir new", "unknown flag -workdir; did you mean --workdir"),
    ("train --cpu-devices 2", "unknown flag --cpu-devices; did you mean --cpu_devices"),
    ("train --learning_rate 1", "unknown flag --learning_rate"),
    ("train digits_w2a2", "unexpected argument 'digits_w2a2'"),
    ("train --workdir", "--workdir: expected one argument"),
    ("train --config", "--config: expected one argument"),
    ("train --cpu_devices 0", "--cpu_devices: must be a positive integer, got '0'"),
    ("train --cpu_devices two", "--cpu_devices: must be a positive integer, got 'two'"),
    ("train --heartbeat_timeout 0", "--heartbeat_timeout: must be a positive integer, got '0'"),
    ("train --process_id first", "--process_id: invalid int value: 'first'"),
    ("train --distributed=yes", "--distributed: ignored explicit argument 'yes'"),
    (f"{TRAIN} --num_processes 2", "want --distributed"),
    ("evaluate", "one of the arguments --workdir --artifact is required"),
    ("evaluate --workdir run --artifact art", "--artifact: not allowed with argument --workdir"),
    ("evaluate --workdir run --batch_size -4", "--batch_size: must be a positive integer"),
    ("evaluate --workdir run --batchsize 4", "did you mean --batch_size"),
    ("evaluate --artifact art --stage float", "--stage and --best go with --workdir"),
    ("evaluate --artifact art --best", "--stage and --best go with --workdir"),
    ("evaluate --workdir run --engine c", "--engine goes with --artifact"),
    ("evaluate run", "unexpected argument 'run'|is required"),
    ("evaluate --workdir run --config digits_w2a2", "unknown flag --config"),
    ("evaluate --workdir run --config.batch_size=4", "n2uq evaluate reads no config"),
    ("import", "the following arguments are required: --arch, --checkpoint, --workdir"),
    ("import --arch resnet8", "required: --checkpoint, --workdir"),
    (f"{IMPORT} --checkpoint x.pth --bits two", "--bits: must be a positive integer, got 'two'"),
    ("export --workdir run", "required: --out"),
    ("export --out new", "required: --workdir"),
    (f"{EXPORT} --images -1", "--images: must be an integer from 0 on, got '-1'"),
    (f"{EXPORT} --images many", "--images: must be an integer from 0 on, got 'many'"),
    (f"{EXPORT} --residual int32", "unknown flag --residual"),
    (f"{EXPORT} --formats onnx", "unknown flag --formats; did you mean --format"),
    (f"{EXPORT} run", "unexpected argument 'run'"),
    ("predict", "required: --artifact, IMAGE"),
    ("predict --artifact art", "required: IMAGE"),
    ("predict one.png", "required: --artifact"),
    ("predict --artifact art --top 0 one.png", "--top: must be a positive integer, got '0'"),
    ("report", "required: --workdir"),
    ("report --workdir run --format png", "unknown flag --format"),
    ("prepare", "required: --data_dir"),
    ("prepare --data_dir new --datadir x", "did you mean --data_dir"),
    # Configurations.
    ("train --config digits --workdir new", "config must be a file or one of digits_w2a2"),
    ("train --config no/file.py --workdir new", "no/file.py' does not exist|no/file.py does not"),
    ("train --config run --workdir new", "config must be a file or one of"),
    ("train --config syntax.py", r"config file .*syntax.py:1: SyntaxError"),
    ("train --config fails.py", r"config file .*fails.py:2: NameError: name 'configdict'"),
    ("train --config empty.py", r"config file .*empty.py: KeyError: .*get_config|no get_config"),
    ("train --config number.py", r"get_config\(\) must return a ConfigDict.*; got int"),
    (f"{TRAIN} --config.quantized.epoch=3", "no field quantized.epoch; did you mean quantized.epo"),
    (f"{TRAIN} --config.epochs=3", r"no field epochs; did you mean \w+.epochs"),
    (f"{TRAIN} --config.modell.w_bits=3", "no field modell.w_bits; did you mean model.w_bits"),
    (f"{TRAIN} --config.model.name.x=3", "no field model.name.x"),
    (f"{TRAIN} --config.=3", "no field"),
    (f"{TRAIN} --config.model=3", "--config.model is a group of fields: a_bits, dtype, .*w_bits"),
    (f"{TRAIN} --config.batch_size", "--config.batch_size lacks its value"),
    (f"{TRAIN} --config.batch_size=many", "--config.batch_size=many: invalid literal for int"),
    (f"{TRAIN} --config.batch_size=1.5", "--config.batch_size=1.5: invalid literal for int"),
    (f"{TRAIN} --config.figures=perhaps", "--config.figures=perhaps: .*boolean"),
    (f"{TRAIN} --config.quantized.learning_rate=fast", "learning_rate=fast: could not convert"),
    (f"{TRAIN} --noconfig.batch_size", "--noconfig.batch_size lacks its value"),
    (f"{TRAIN} --config.batch_size=0", "batch_size must be at least 1, got 0"),
    (f"{TRAIN} --config.stages=()", "stages must name at least one stage"),
    (f"{TRAIN} --config.stages=('last',)", "stages names 'last'"),
    (
        f"{TRAIN} --config.batch_norm=local",
        "batch_norm must be one of global, per_device; got 'local'",
    ),
    (f"{TRAIN} --config.accumulate=3", "accumulate must divide batch_size=128, got 3"),
    (f"{TRAIN} --config.data.name=digit", "data set 'digit' is not in|tensorflow_datasets"),
    (f"{TRAIN} --config.mesh.fsdp=3", "fsdp"),
    (f"{TRAIN} --config.integer.init=nofile", "integer.init must be an earlier stage .float, quan"),
    (f"{TRAIN} --config.integer.teacher=flaot", "integer.teacher must be .*; did you mean float"),
    (
        f"{TRAIN} --config.integer.teacher=torchvision/resnet18",
        "integer.teacher_weights for 'torchvision/resnet18' must be a file",
    ),
    (f"{TRAIN} --config.integer.init=run", "integer.init: workdir run has no checkpoint"),
    (
        f"{TRAIN} --config.integer.init=bad.safetensors",
        "integer.init=bad.safetensors: checkpoint bad.safetensors is damaged",
    ),
    ("check --config digit_w2a2", "digit_w2a2 does not exist; did you mean digits_w2a2"),
    ("check --config.model.stem_bits=9", "model.stem_bits must be from 2 to 8, got 9"),
    ("check --config.integer.teacher=nope", "integer.teacher must be an earlier stage"),
    ("check --workdir absent", "absent/config.json does not exist"),
    ("check --workdir run --config.seed=1", "--config.seed=1 goes with --config, not with --wor"),
    # Folders and files.
    (f"{TRAIN} --workdir full", "full holds files, but no config.json"),
    (f"{TRAIN} --workdir notes.txt", "notes.txt"),
    ("evaluate --workdir absent", "absent/config.json does not exist"),
    ("evaluate --workdir notes.txt", "config.json"),
    ("evaluate --workdir broken", r"broken/config.json is damaged: Expecting value"),
    ("evaluate --workdir run", "has no checkpoint"),
    (
        "evaluate --workdir run --stage last",
        "one of float, quantized, integer, got 'last'",
    ),
    ("evaluate --artifact absent", "absent"),
    ("evaluate --artifact full", "full"),
    ("evaluate --artifact art", "art"),
    ("report --workdir absent", "absent/config.json does not exist"),
    ("report --workdir run", "run"),
    ("export --workdir absent --out new", "absent/config.json does not exist"),
    (EXPORT, "has no checkpoint"),
    (f"{EXPORT} --format pdf", "pdf|has no checkpoint"),
    ("export --workdir run --out full", "full|has no checkpoint"),
    ("predict --artifact absent one.png", "absent"),
    ("predict --artifact art one.png", "art"),
    (f"{IMPORT} --bits 2 --checkpoint absent.pth", "absent.pth does not exist"),
    (f"{IMPORT} --bits 2 --checkpoint notes.txt", "notes.txt must end in .safetensors"),
    (f"{IMPORT} --bits 2 --checkpoint bad.safetensors", "bad.safetensors"),
    (f"{IMPORT} --w_bits 2 --checkpoint absent.pth", "w_bits and a_bits must both be given"),
    ("import --arch resnet9 --checkpoint x.pth --workdir new", "arch must be one of resnet18"),
    ("import --arch resnet8 --checkpoint x.pth --workdir full", "workdir must not exist yet or be"),
    ("prepare --data_dir new", "manual_dir: None, expected the folder that holds"),
    ("prepare --data_dir new --manual_dir full", "no file full/ILSVRC2012_img_train.tar"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a workdir that never trained, a damaged one, an artifact of nothing, files."""
    from n2uq_jax.training.config_file import load_config

    folder = tmp_path_factory.mktemp("commands")
    for name in ("run", "broken", "art", "full"):
        (folder / name).mkdir()
    contents = {
        "config": json.loads(load_config("digits_w2a2").to_json()),
        "dataset": {"num_classes": 10, "image_shape": [8, 8, 1], "mean": [0.5], "std": [0.5]},
    }
    (folder / "run/config.json").write_text(json.dumps(contents))
    (folder / "broken/config.json").write_text('{"config": ')
    (folder / "art/manifest.json").write_text("{}")
    (folder / "full/notes.txt").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    (folder / "bad.safetensors").write_bytes(b"\xff" * 64)
    (folder / "one.png").write_bytes(np.zeros(8, np.uint8).tobytes())
    (folder / "syntax.py").write_text("def get_config(:\n")
    (folder / "fails.py").write_text("def get_config():\n    return configdict()\n")
    (folder / "empty.py").write_text("")
    (folder / "number.py").write_text("def get_config():\n    return 3\n")
    return folder


def name(words):
    return words or "nothing"


@pytest.mark.parametrize(("words", "message"), BAD, ids=[name(words) for words, _ in BAD])
def test_a_bad_command_line_is_told_in_one_line(words, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    code = run(words.split())
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("n2uq: error: ")
    assert re.search(message, err), err
    assert not (folder / "new").exists()


def test_debug_shows_the_traceback(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        run(["evaluate", "--workdir", "absent", "--debug"])


@pytest.mark.parametrize("error", [AssertionError, AttributeError, IndexError, RecursionError])
def test_mistakes_in_the_code_keep_their_traceback(error, monkeypatch):
    def broken(_):
        raise error("ours")

    monkeypatch.setattr(command.report, "run", broken)
    with pytest.raises(error, match="ours"):
        run(["report", "--workdir", "x"])


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.report, "run", interrupted)
    assert run(["report", "--workdir", "x"]) == 130
    assert capsys.readouterr().err == "n2uq: interrupted\n"


def test_one_line():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(OSError(28, "No space left on device", "w/x")) == "No space left on device: w/x"
    missing = ModuleNotFoundError("No module named 'grain'", name="grain")
    assert one_line(missing, "train").endswith("install it with: pip install 'n2uq_jax[train]'")
    assert one_line(ValueError()) == "ValueError"


def test_extras_are_those_of_the_project():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for module in VERBS.values():
        assert set(module.EXTRA.split(",")) <= set(extras)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_screen_and_shows_examples_that_parse(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")  # of the terminal; help is laid out all the same
    if verb:
        with pytest.raises(SystemExit, match="0"):
            run([verb, "--help"])
    else:
        assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    examples = [line.split() for line in lines if line.startswith("  n2uq ")]
    assert examples
    for _, example, *flags in examples:
        arguments = command.make_parser(example).parse(flags)
        for override in arguments.overrides:
            assert "=" in override


@pytest.mark.parametrize("name", ["workdir", "artifact", "stage", "data_dir", "batch_size", "data"])
def test_a_flag_means_the_same_everywhere(name):
    parsers = [command.make_parser(verb) for verb in VERBS]
    actions = [a for parser in parsers for a in parser._actions if a.dest == name]
    assert actions
    assert len({(a.type, a.nargs, a.metavar) for a in actions}) == 1


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"n2uq_jax {n2uq.__version__}\n"


ENTRIES = {
    "n2uq_jax": [],
    "n2uq_jax.main": ["train"],
    "n2uq_jax.evaluate": ["evaluate"],
    "n2uq_jax.convert": ["import"],
    "n2uq_jax.export": ["export"],
    "n2uq_jax.report": ["report"],
    "n2uq_jax.predict": ["predict"],
}


@pytest.mark.parametrize("module", ENTRIES)
def test_every_entry_runs_the_same_code(module, monkeypatch):
    import runpy

    seen = []
    monkeypatch.setattr(command, "run", lambda words=None: seen.append(words) or 7)
    monkeypatch.setattr(sys, "argv", [module, "--workdir", "x"])
    monkeypatch.delitem(sys.modules, module, raising=False) if module != "n2uq_jax" else None
    with pytest.raises(SystemExit) as done:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert done.value.code == 7
    assert seen == [[*ENTRIES[module], "--workdir", "x"] if ENTRIES[module] else None]


def test_a_process_ends_with_code_2_and_nothing_before_the_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "n2uq_jax", "evaluate", "--workdir", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"n2uq: error: workdir must be a folder that n2uq train wrote, but "
        f"{tmp_path}/config.json does not exist.\n"
    )
