"""Training configurations: what is taken, and how the rest is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("pydantic")

from mtcnn_fast.train.augmentation import Augmentation
from mtcnn_fast.train.config import Config, Mining
from mtcnn_fast.train.losses import TASK_WEIGHTS
from mtcnn_fast.train.mining import MINING_RECIPE, Limits
from mtcnn_fast.train.rounds import read_rounds
from mtcnn_fast.train.windows import Recipe

LEAST = '[[sources]]\nannotations = "faces.txt"\n'


def read(folder: Path, text: str) -> Config:
    path = folder / "run.toml"
    path.write_text(text)
    return read_rounds(path)[0].config


def test_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, LEAST)
    assert (config.start, config.validation, config.sources[0].complete) == ("scratch", (), True)
    for name in ("pnet", "rnet", "onet"):
        training = getattr(config, name)
        assert training.task_weights == TASK_WEIGHTS[name]
        assert (training.hard_share, training.mix, training.augmentation) == (0.7, (3, 1, 1, 2), Augmentation())
        assert training.windows == (Recipe() if name == "pnet" else MINING_RECIPE)
        assert training.mining == (None if name == "pnet" else Mining())
    assert config.rnet.mining is not None
    assert config.rnet.mining.limits == Limits()


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    text = (
        'start = "w.safetensors"\n[[sources]]\nannotations = "a/faces.txt"\nimages = "/pictures"\nonly = "train.txt"\n'
        'ignored = "ignored.json"\n'
    )
    config = read(tmp_path, text)
    source = config.sources[0]
    assert (config.start, source.annotations) == (tmp_path / "w.safetensors", tmp_path / "a" / "faces.txt")
    assert (source.images, source.only) == (Path("/pictures"), tmp_path / "train.txt")
    assert source.annotated_set().ignored == tmp_path / "ignored.json"


def test_sources_have_shares_and_teachers(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        '[[sources]]\nannotations = "a"\nshare = 2\nnegative_share = 0\nteachers = "t.jsonl"\n'
        '[[sources]]\nannotations = "b"\nshare = 1\nteacher_score = 0.3\n',
    )
    assert [source.shares() for source in config.sources] == [[0, 2, 2, 2], [1, 1, 1, 1]]
    sets = [source.annotated_set() for source in config.sources]
    assert [(of.teachers, of.teacher_score) for of in sets] == [(tmp_path / "t.jsonl", 0.2), (None, 0.3)]


def test_what_is_given_keeps_the_other_defaults(tmp_path: Path) -> None:
    text = (
        LEAST + "[pnet]\nepochs = 3\nwindows = { near = 2 }\naugmentation = { jpeg = 0.3, jpeg_range = [30, 90] }\n"
        "[onet]\nmining = { limits = { negative = 9 } }\n"
    )
    config = read(tmp_path, text)
    assert (config.pnet.epochs, config.pnet.windows) == (3, Recipe(near=2))
    assert config.pnet.augmentation == Augmentation(jpeg=0.3, jpeg_range=(30, 90))
    assert config.onet.mining is not None
    assert (config.onet.mining.limits, config.onet.mining.min_face_size) == (Limits(negative=9), 20)
    assert config.onet.windows == MINING_RECIPE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^sources is missing"),
        ("sources = []", "sources is empty; wanted annotated pictures"),
        ("seed = [", "is not TOML"),
        (LEAST + 'format = "x"\n', "sources #1.format: there is no 'x'; wanted one of wider, voc"),
        (LEAST + "colour = 1\n", "sources #1: there is no setting colour; there are annotations, format"),
        (LEAST + "complet = false\n", r"sources #1: there is no setting complet; did you mean complete\?"),
        (LEAST + 'complete = "no"\n', "sources #1.complete: wanted true or false; it is 'no'"),
        (LEAST + "[[sources]]\nformat = 'voc'\n", "sources #2: annotations is missing"),
        (LEAST + "[[validation]]\nannotations = ''\n", "validation #1.annotations: wanted a path; it is ''"),
        (LEAST + "images = 3\n", "sources #1.images: wanted a path; it is 3"),
        (LEAST + "expand = [0, 0]\n", r"sources #1.expand: wanted 4 values; it is \[0, 0\]"),
        (LEAST + "expand = [0, 0, 0, 0, 0]\n", "sources #1.expand: wanted 4 values"),
        (LEAST + "expand = 0\n", "sources #1.expand: wanted an array; it is 0"),
        (LEAST + "scales = [1, 0.5, 0]\n", r"sources #1.scales\[2\]: wanted more than 0; it is 0"),
        (LEAST + "scales = []\n", "sources #1.scales: "),
        (LEAST + "[pnet]\nwindows = { jittered = [1, 2] }\n", "pnet.windows: jittered has 2 numbers; wanted 3"),
        (LEAST + "expand = [0, 0, 0, nan]\n", r"sources #1.expand\[3\]: wanted a finite number; it is nan"),
        ("seed = -1\n" + LEAST, "seed: wanted at least 0; it is -1"),
        ("seed = 1.0\n" + LEAST, "seed: wanted an integer; it is 1.0"),
        ("start = 3\n" + LEAST, "start: wanted 'scratch', 'embedded' or the path of a weight file; it is 3"),
        (LEAST + "[pnet]\nepochs = 0\n", "pnet.epochs: wanted at least 1; it is 0"),
        (LEAST + "[pnet]\nepochs = '3'\n", "pnet.epochs: wanted an integer; it is '3'"),
        (LEAST + "[pnet]\nepochs = true\n", "pnet.epochs: wanted an integer; it is true"),
        (LEAST + "[pnet]\nmomentum = 1\n", "pnet.momentum: wanted less than 1; it is 1"),
        (LEAST + "[pnet]\nlearning_rate = inf\n", "pnet.learning_rate: .*finite"),
        (LEAST + "[pnet]\nmix = [0, 0, 0, 0]\n", "pnet: the shares of a batch are .* wanted one above 0"),
        (LEAST + "[pnet]\nbatch_size = 3\n", "pnet: a batch of 3 has no room for one sample of each kind"),
        (LEAST + "[pnet]\ntask_weights = [1, -1, 1]\n", r"pnet.task_weights: task_weights is \[1, -1, 1\]; wanted 3"),
        (LEAST + "[pnet]\ntask_weights = [0, 0, 0]\n", "pnet.task_weights: .*not all of them 0"),
        (LEAST + "[pnet]\ntask_weights = [1, '1', 1]\n", r"task_weights\[1\] is '1' \(str\); wanted a number"),
        (LEAST + "[pnet]\nschedule = 'cosine'\ndecay = 0.5\n", "pnet: schedule is 'cosine', which has no decay"),
        (LEAST + "[pnet]\npatience = 2\n", "pnet.patience is 2, and there are no validation pictures"),
        (LEAST + "negative_share = 1\n", "sources #1 has no share; wanted one for every source, or for none"),
        (
            '[[sources]]\nannotations = "a"\nshare = 1\n' + LEAST,
            "sources #2 has no share; wanted one for every source, or for none",
        ),
        (LEAST + "share = 0\n", "no source has a share of the negatives; wanted one above 0"),
        (LEAST + "share = 0\nnegative_share = 1\n", "no source has a share of the faces; wanted one above 0"),
        (LEAST + '[[validation]]\nannotations = "a"\nshare = 1\n', "validation #1: there is no setting share"),
        (LEAST + "[onet]\ncalibrate = true\n", "onet.calibrate is true, and there are no validation pictures"),
        (LEAST + "[rnet]\nhard_share = 1.5\n", "rnet.hard_share: wanted at most 1; it is 1.5"),
        (
            LEAST + "[rnet]\nwindows = { wide = 1 }\n",
            "rnet.windows: there is no setting wide; there are background, near",
        ),
        (LEAST + "[rnet]\nwindows = { near = '1' }\n", r"rnet.windows: near is '1' \(str\); wanted an integer"),
        (LEAST + "[rnet]\nwindows = { outside = 'no' }\n", "rnet.windows: outside is 'no' .*; wanted True or False"),
        (LEAST + "[rnet]\nmining = { min_face_size = inf }\n", "rnet.mining.min_face_size: .*finite"),
        (
            LEAST + "[rnet]\nmining = { thresholds = [2, 0.1] }\n",
            r"rnet.mining.thresholds\[0\]: wanted at most 1; it is 2",
        ),
        (LEAST + "[onet]\nwindows = { near = -1 }\n", "onet.windows.*near is -1; wanted at least 0"),
        (LEAST + "[pnet]\naugmentation = { flip = 2 }\n", "pnet.augmentation.*flip is 2.*; wanted 0 to 1"),
        (
            LEAST + "[onet]\naugmentation = { jpeg_range = [20, 200] }\n",
            r"onet.augmentation: jpeg_range\[1\] is 200.0; wanted 1 to 100",
        ),
        (LEAST + "[pnet]\nmining = { min_face_size = 20 }\n", "P-Net is the first network"),
        (LEAST + "[pnett]\nepochs = 3\n", r"there is no setting pnett; did you mean pnet\?"),
        (LEAST + "[pnet]\nepoch = 3\n", r"pnet: there is no setting epoch; did you mean epochs\?"),
        (
            LEAST + "[rnet.mining]\nthreshold = [0, 0]\n",
            r"rnet.mining: there is no setting threshold; did you mean thr",
        ),
        (
            LEAST + "[rnet.mining.limits]\nnegativ = 1\n",
            r"rnet.mining.limits: there is no setting negativ; did you mean",
        ),
        (LEAST + "[rnet]\nmining = 3\n", "rnet.mining: wanted a table; it is 3"),
        (LEAST + "[rnet]\nwindows = 3\n", "rnet.windows: wanted a table; it is 3"),
        (LEAST + "[onet]\noptimizer = 'adm'\n", "onet.optimizer: there is no 'adm'; wanted one of sgd, adam"),
        ("start = ''\n" + LEAST, "start: wanted 'scratch', 'embedded' or the path of a weight file; it is ''"),
        ("pnet = 3\n" + LEAST, "pnet: wanted a table; it is 3"),
    ],
)
def test_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message, re.MULTILINE)) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "run.toml"))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_rounds(tmp_path / "none.toml")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b'seed = 1\nstart = "\xff"')
    with pytest.raises(ValueError, match=r"run.toml is not TOML: line 2 is not UTF-8"):
        read_rounds(tmp_path / "run.toml")


def test_text_as_windows_writes_it(tmp_path: Path) -> None:
    text = "seed = 7\r\n[[sources]]\r\nannotations = 'Gesichter\\\u00fc.txt'\r\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "run.toml").write_bytes(text.encode(encoding))
        config = read_rounds(tmp_path / "run.toml")[0].config
        assert config.seed == 7
        assert config.sources[0].annotations == tmp_path / "Gesichter\\\u00fc.txt"


@pytest.mark.parametrize("path", ["C:\\data", "C:\\users", "C:\\xray", "C:\\new", "C:\\faces", "a\\test"])
def test_backslashes_are_what_toml_has(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r"begins an escape: write paths with /, or between '\.\.\.'"):
        read(tmp_path, f'[[sources]]\nannotations = "{path}"\n')


def test_every_complaint_has_a_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.toml: invalid configuration:") as caught:
        read(tmp_path, "seed = -1\n" + LEAST + "[pnet]\nepochs = 0\n[onet]\nbatches = 1.5\n")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "seed",
        "pnet.epochs",
        "onet.batches",
    ]


def test_r_net_and_o_net_have_a_cascade(tmp_path: Path) -> None:
    table = {"sources": [{"annotations": "faces.txt"}], "onet": {"mining": None}}
    with pytest.raises(ValueError, match=r"onet\.mining is None; wanted the cascade"):
        Config.model_validate(table)
