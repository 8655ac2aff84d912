"""Files mutated at random: whatever reads them gives what is whole, or an error of one line that names the file.

A few hundred of each kind, of fixed seeds; `pytest tests/test_fuzz_files.py --fuzz N` makes N.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import math
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtcnn_fast.cli import main
from mtcnn_fast.datasets import Annotation, Problems, matlab, read
from mtcnn_fast.evaluate import PictureDetections, read_detections
from mtcnn_fast.evaluate.sets import read_sets
from mtcnn_fast.weights import embedded_weights

Random = np.random.Generator

CASES = 200

# What a file has that is not a byte out of place.
WILD = (
    b"nan", b"inf", b"-1", b"0", b"1e308", b"9" * 400, b"-0.0", b"1_0", b"true", b"null", b"\0", b"\n", b"\r", b"\t",
    b" ", b",", b'"', b"'", b"\\", b"../", b"/", b"{", b"}", b"[", b"]", b"<", b">", b"&", b"&amp;", b"=", b"\xff",
    b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc3", b"[" * 2000, b"<a>" * 2000, b"#", b"%s", b"\x1b[31m",
)  # fmt: skip


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> int:
    found = request.config.getoption("--fuzz", default=None)
    return CASES if found is None else int(found)


def mutated(random: Random, content: bytes) -> bytes:
    """The content, cut off, or with bits, bytes or pieces that are others, once or up to eight times."""
    found = bytearray(content)
    for _ in range(int(random.integers(1, 9)) if random.random() < 0.5 else 1):
        at = int(random.integers(0, len(found) + 1))
        length = int(random.integers(1, 1 + min(64, len(found) + 1)))
        kind = random.integers(0, 7)
        if kind == 0 and random.random() < 0.4:
            del found[at:]
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = WILD[random.integers(len(WILD))]
        elif kind == 3:
            found[at : at + length] = WILD[random.integers(len(WILD))]
        elif kind == 4:
            piece = found[at : at + length]
            other = int(random.integers(0, len(found) + 1))
            found[other:other] = piece
        elif found:
            found[at % len(found)] ^= 1 << int(random.integers(0, 8))
    return bytes(found)


@contextlib.contextmanager
def within(seconds: float, what: object) -> Iterator[None]:
    """Fails if the block takes longer."""

    def late(*_: object) -> None:
        raise AssertionError(f"{what} takes longer than {seconds} s")

    earlier = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def attempt(call: Callable[[], Any], named: Path, case: object, lines: int = 1) -> Any:
    """What the call gives; None for the error of one line, or of a few, that names the file."""
    try:
        with within(20, case):
            return call()
    except (OSError, ValueError) as raised:
        error = raised
    assert str(error).count("\n") < lines, case
    assert str(named) in str(error), f"{case}: {error!r}"
    return None


def one_line_each(problems: Problems, case: object) -> None:
    for told in problems:
        assert "\n" not in told, f"{case}: {told!r}"


# --- Annotations and detections ---------------------------------------------------------------------------------------

OBJECT = (
    "<object><name>face</name><difficult>0</difficult>"
    "<bndbox><xmin>79</xmin><ymin>105</ymin><xmax>109</xmax><ymax>142</ymax></bndbox></object>"
)
FIVE = "106.25 107.75 146.75 112.25 125.25 142.75 105.25 157.75 139.75 161.75"

ANNOTATIONS: dict[str, tuple[str, str]] = {
    "wider": (
        "list.txt",
        "0--P/a.jpg\n2\n449 330 122 149 0 0 0 0 0 0\n10 20 30 40 0 0 0 1 0 0\n0--P/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
        "c.jpg\n1\n5 6 7 8\n",
    ),
    "voc": ("a.xml", f'<?xml version="1.0"?>\n<annotation><filename>a.jpg</filename>{OBJECT * 2}</annotation>\n'),
    "celeba": (
        "list_bbox_celeba.txt",
        "3\nimage_id x_1 y_1 width height\n000001.jpg 95 71 226 313\n000002.jpg 1 2 3 4\n000003.jpg 5 6 7 8\n",
    ),
    "facepoint": ("list.txt", "".join(f"{name}.jpg 84 161 92 169 {FIVE}\n" for name in "abca")),
    "retinaface": (
        "label.txt",
        "# 0--P/a.jpg\n10 20 30 40 18 32 0 31 32 0 25 40 0 19 50 1 30 50 0 0.82\n5 6 7 8\n# b.jpg\n# c.jpg\n5 6 7 8\n",
    ),
    "coco": (
        "a.json",
        json.dumps(
            {
                "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)],
                "annotations": [
                    {"image_id": i % 3, "bbox": [10, 20, 30, 40], "iscrowd": i % 2, "keypoints": [15, 30, 2] * 5}
                    for i in range(5)
                ],
            }
        ),
    ),
}


def check_annotation(found: Annotation, case: object) -> None:
    boxes = found.boxes
    assert boxes.dtype == np.float32, case
    assert np.isfinite(boxes).all(), case
    assert (abs(boxes) <= 2**24).all(), case
    assert (boxes[:, :2] < boxes[:, 2:]).all(), case
    assert found.landmarks.shape == (len(boxes), 5, 2), case
    assert not np.isinf(found.landmarks).any(), case
    assert found.ignored.shape == (len(boxes),), case
    assert ".." not in os.path.relpath(found.path, found.path.anchor).split("/")[:1], case


def check_detections(found: PictureDetections, case: object) -> None:
    assert np.isfinite(found.boxes).all(), case
    assert (abs(found.boxes) <= 2**25).all(), case
    assert (found.boxes[:, :2] <= found.boxes[:, 2:]).all(), case
    assert np.isfinite(found.scores).all(), case
    assert found.landmarks.shape == (len(found.boxes), 5, 2), case
    assert not np.isinf(found.landmarks).any(), case


@pytest.mark.parametrize("format", ANNOTATIONS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_annotations(format: str, encoding: str, cases: int, tmp_path: Path) -> None:
    name, text = ANNOTATIONS[format]
    content, path = text.encode(encoding), tmp_path / name
    marks = tmp_path / "list_landmarks_celeba.txt"
    lists = "3\nx y\n" + "".join(f"00000{i}.jpg {FIVE}\n" for i in range(1, 4))
    whole = 0
    for case in range(cases):
        random = np.random.default_rng([case, len(text)])
        path.write_bytes(mutated(random, content))
        if format == "celeba":
            marks.write_bytes(mutated(random, lists.encode()) if case % 2 else lists.encode())
        problems = Problems()
        given = None if case % 3 == 0 else format
        found = attempt(
            lambda given=given, problems=problems: list(read(path, given, problems=problems)), tmp_path, case
        )
        one_line_each(problems, case)
        for annotation in found or ():
            check_annotation(annotation, case)
            assert annotation.path.absolute().is_relative_to(tmp_path), case
        whole += bool(found)
    assert whole or cases < CASES


def test_matlab_files(cases: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    monkeypatch.setattr(matlab, "SECONDS", 5)

    def cells(values: list[Any]) -> Any:
        column = np.empty((len(values), 1), object)
        for i, value in enumerate(values):
            column[i, 0] = value
        return column

    boxes = [cells([np.array([[1.0, 2, 30, 40], [5, 6, 7, 8]]), np.zeros((0, 4))])]
    content = {
        "event_list": cells(["event"]),
        "file_list": cells([cells(["a", "b"])]),
        "face_bbx_list": cells(boxes),
        "invalid_label_list": cells([cells([np.array([[0.0], [1]]), np.zeros((0, 1))])]),
    }
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, content)
    plain = path.read_bytes()
    # Of each a process is begun.
    for case in range(max(10, cases // 20)):
        random = np.random.default_rng(case)
        path.write_bytes(plain[:128] + mutated(random, plain[128:]))
        problems = Problems()
        found = attempt(lambda problems=problems: list(read(path, problems=problems)), path, case)
        one_line_each(problems, case)
        for annotation in found or ():
            check_annotation(annotation, case)


def test_ignored_boxes(cases: int, tmp_path: Path) -> None:
    labels, path = tmp_path / "list.txt", tmp_path / "ignored.json"
    labels.write_text("a.jpg\n1\n10 20 30 40\nb.jpg\n0\n")
    content = json.dumps({"a.jpg": [[1, 2, 30, 40.5], [5, 6, 7, 8]], "s/b.jpg": []})
    for case in range(cases):
        random = np.random.default_rng([case, 7])
        path.write_bytes(mutated(random, content.encode("utf-16" if case % 7 == 0 else "utf-8")))
        problems = Problems()
        found = attempt(
            lambda problems=problems: list(read(labels, "wider", ignored=path, problems=problems)), path, case
        )
        one_line_each(problems, case)
        for annotation in found or ():
            check_annotation(annotation, case)


PICTURE = "a.jpg\n2\n449 330 122 149 0.999\n10 20 30 40 .5\n"
ENTRY = {
    "path": "s/a.jpg",
    "faces": [{"box": [10, 20, 40, 60], "score": 0.99, "landmarks": {"left_eye": [10, 14], "nose": [15, 19]}}],
}
DETECTIONS: dict[str, str] = {
    "fddb": PICTURE + PICTURE.replace("a", "b"),
    "jsonl": "".join(json.dumps({**ENTRY, "path": f"{name}.jpg"}) + "\n" for name in "abc"),
    "document": json.dumps([ENTRY, {"name": "b", "faces": []}, {"path": "c", "error": "x", "faces": []}]),
    "csv": "path,page,width,face,x1,y1,x2,y2,score,nose_x,nose_y,error\n"
    'a.jpg,0,9,0,1,2,3,4,0.9,2,2,\n"a\n.jpg",0,9,0,1,2,3,4,0.9,,,\nb.jpg,1,,,,,,,,,,away\n',
    "coco": json.dumps(
        [{"image_id": i, "bbox": [10, 20, 30, 40], "score": 0.9, "keypoints": [15, 30, 2] * 5} for i in range(3)]
    ),
}


@pytest.mark.parametrize("format", DETECTIONS)
def test_detections(format: str, cases: int, tmp_path: Path) -> None:
    path, whole = tmp_path / "found", 0
    for case in range(cases):
        random = np.random.default_rng([case, 1])
        path.write_bytes(mutated(random, DETECTIONS[format].encode("utf-16" if case % 7 == 0 else "utf-8")))
        problems, notes = Problems(), Problems()
        given = None if case % 3 == 0 else format
        found = attempt(
            lambda given=given, problems=problems, notes=notes: list(
                read_detections(path, given, problems=problems, notes=notes)
            ),
            path,
            case,
        )
        one_line_each(problems, case)
        one_line_each(notes, case)
        for picture in found or ():
            check_detections(picture, case)
        whole += bool(found)
    assert whole or cases < CASES


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("e/a.txt", "e/b.txt", f"{'long' * 60}/ü.txt", "e/c.md", "e/d.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(PICTURE)
            archive.addfile(entry, io.BytesIO(PICTURE.encode()))
    return content.getvalue()


def zipped(how: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive:
        for name in ("e/a.txt", "e/b.txt", "e/ü.txt", "e/c.md"):
            archive.writestr(name, PICTURE * 3 if name == "e/b.txt" else PICTURE)
    return content.getvalue()


ARCHIVES: dict[str, Callable[[], bytes]] = {
    "tar": tar,
    "tar.gz": lambda: gzip.compress(tar(), mtime=0),
    "tar.bz2": lambda: bz2.compress(tar()),
    "tar.xz": lambda: lzma.compress(tar()),
    "stored": lambda: zipped(zipfile.ZIP_STORED),
    "deflated": lambda: zipped(zipfile.ZIP_DEFLATED),
    "bzip2": lambda: zipped(zipfile.ZIP_BZIP2),
    "lzma": lambda: zipped(zipfile.ZIP_LZMA),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(kind: str, cases: int, tmp_path: Path) -> None:
    content, path = ARCHIVES[kind](), tmp_path / "archive"
    for case in range(cases):
        random = np.random.default_rng([case, 2])
        found = mutated(random, content)
        if kind.startswith("tar.") and case % 2:  # whole around what is not
            pack = {"tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}[kind]
            found = pack(mutated(random, tar()))
        path.write_bytes(found)
        problems, notes, kept = Problems(), Problems(), []

        def reading(problems: Problems = problems, notes: Problems = notes, kept: list[Any] = kept) -> None:
            kept.extend(read_detections(path, "wider", problems=problems, notes=notes))

        attempt(reading, path, case)
        one_line_each(problems, case)
        one_line_each(notes, case)
        for picture in kept:
            check_detections(picture, case)


# --- What commands take -----------------------------------------------------------------------------------------------


def command(capsys: pytest.CaptureFixture[str], case: object, *arguments: object) -> tuple[int, str]:
    """Exit status and stderr of a command, which does not crash."""
    capsys.readouterr()
    try:
        with within(20, case):
            status = main(list(map(str, arguments)))
    except SystemExit as ended:
        status = int(ended.code or 0)
    err = capsys.readouterr().err
    assert "Traceback" not in err, f"{case}: {err}"
    assert status in (0, 1, 2), case
    assert status == 0 or err, case
    if status == 2:
        assert ": error: " in err.splitlines()[-1], f"{case}: {err}"
    return status, err


@pytest.fixture
def pictures(tmp_path: Path, astronaut_path: Path) -> Path:
    """A folder of two small pictures."""
    folder = tmp_path / "in"
    folder.mkdir()
    with Image.open(astronaut_path) as whole:
        whole.crop((170, 60, 270, 180)).save(folder / "face.png")
    Image.new("RGB", (40, 30)).save(folder / "black.bmp")
    return folder


def test_weight_files(cases: int, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.numpy import save

    content, path = save(embedded_weights()), tmp_path / "w.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    for case in range(cases):
        random = np.random.default_rng([case, 3])
        found = mutated(random, content[:header]) + content[header:] if case % 4 else mutated(random, content)
        if case % 8 == 5:  # weights of any value
            at = header + 4 * int(random.integers(0, (len(content) - header) // 4))
            value = np.array(random.choice([math.nan, math.inf, 3e38, -3e38, 1e-45]), "<f4").tobytes()
            found = content[:at] + value + content[at + 4 :]
        path.write_bytes(found)
        status, err = command(
            capsys, case, "detect", pictures, "--weights", path, "--device", "cpu", "--json", tmp_path / "out.json"
        )
        if status == 2:
            assert str(path) in err or "tensor" in err, f"{case}: {err}"
        elif (tmp_path / "out.json").exists():
            json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
            (tmp_path / "out.json").unlink()


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_results(format: str, cases: int, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    result = out / f"found.{format}"
    (pictures / "none.jpg").write_bytes(b"no picture")
    run = ["detect", pictures, "--device", "cpu", "--json", result]
    assert command(capsys, "first", *run)[0] == 1
    if format == "json":
        # What a killed run leaves.
        entries = json.loads(result.read_text())
        result.unlink()
        part = result.with_name(f"{result.name}.part")
        part.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        result.with_name(f"{result.name}.settings").rename(f"{part}.settings")
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    lines, retried = max(whole, key=lambda name: len(whole[name])), f"{result.name}.retried"
    for case in range(-(-cases // 2)):  # each is two runs
        random = np.random.default_rng([case, 4])
        shutil.rmtree(out)
        out.mkdir()
        files = dict(whole)
        if case % 4 == 0:
            files[retried] = whole[lines].splitlines(True)[0]
        name = sorted(files)[random.integers(len(files))]
        for each, content in files.items():
            (out / each).write_bytes(mutated(random, content) if each == name else content)
        status, err = command(capsys, case, *run, "--resume")
        expected = (1, 2)
        if status == 2:
            assert str(out) in err, f"{case}: {err}"
        else:
            content = result.read_text()
            found = json.loads(content) if format == "json" else list(map(json.loads, content.splitlines()))
            assert {Path(entry["path"]).name for entry in found} >= {path.name for path in pictures.iterdir()}, case
            # A flipped bit in the word "error" makes a picture that failed one that was searched.
            expected = (int(any("error" in entry for entry in found)),)
        # What was done is done.
        assert command(capsys, case, *run, "--resume")[0] in expected, case


def test_sets_in_toml(cases: int, tmp_path: Path) -> None:
    path = tmp_path / "sets.toml"
    content = '[a]\npath = "x.txt"\niou = 0.4\ncomplete = false\n\n[b]\npath = "y"\nformat = "voc"\noutside = true\n'
    for case in range(cases):
        random = np.random.default_rng([case, 5])
        path.write_bytes(mutated(random, content.encode()))
        attempt(lambda: read_sets(path), path, case)


# --- Training ---------------------------------------------------------------------------------------------------------


def test_sample_shards(cases: int, tmp_path: Path) -> None:
    from mtcnn_fast.train.samples import LABELS, SampleStore, SampleWriter

    whole = tmp_path / "whole"
    writer = SampleWriter(whole, {"size": 12}, 2)
    random = np.random.default_rng(0)
    for number in range(2):
        with writer.shard(number, "digest") as shard:
            for _ in range(2):
                labels = np.zeros(5, LABELS)
                labels["kind"] = random.integers(0, 4, 5)
                shard.add(random.integers(0, 256, (5, 12, 12, 3), np.uint8), labels)
    writer.finish(2)
    names = sorted(path.name for path in whole.iterdir())
    for case in range(cases):
        random = np.random.default_rng([case, 6])
        folder = tmp_path / "store"
        shutil.copytree(whole, folder)
        name = names[random.integers(len(names))]
        content = (whole / name).read_bytes()
        head = 256 if name.endswith(".npy") and case % 2 else len(content)
        (folder / name).write_bytes(mutated(random, content[:head]) + content[head:])

        def reading(folder: Path = folder) -> None:
            store = SampleStore(folder)
            assert len(store.batch(np.arange(len(store))).images) == len(store)

        attempt(reading, folder, (case, name))
        shutil.rmtree(folder)


def test_checkpoints(cases: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from mtcnn_fast.train.networks import network
    from mtcnn_fast.train.record import Checkpoint, Epoch

    made = network("pnet")
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    path = tmp_path / "checkpoint.pt"
    Checkpoint(path, made, optimizer, {"a": 1}, made).save([Epoch(1, *[0.5] * 11)])
    content = path.read_bytes()
    device = torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of other versions' files
        for case in range(cases):
            random = np.random.default_rng([case, 7])
            path.write_bytes(mutated(random, content))
            attempt(lambda: Checkpoint(path, made, optimizer, {"a": 1}, made).restore(device), path, case)


def test_configurations(cases: int, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("pydantic")
    from mtcnn_fast.train.example import EXAMPLE
    from mtcnn_fast.train.rounds import read_rounds

    path = tmp_path / "run.toml"
    content = f'{EXAMPLE}[[rounds]]\nnetworks = ["rnet", "onet"]\nonet = {{ epochs = 3 }}\n'.encode()
    for case in range(cases):
        random = np.random.default_rng([case, 8])
        path.write_bytes(mutated(random, content))
        # Each thing that is wrong has a line.
        attempt(lambda: read_rounds(path), path, case, lines=100)


def test_detections_of_teachers(cases: int, tmp_path: Path) -> None:
    from mtcnn_fast.train.teachers import Teachers

    row = {"path": "a/b.jpg", "detections": [{"by": "yunet", "box": [1, 2, 30.5, 40], "score": 0.5}]}
    content = f"{json.dumps(row)}\n{json.dumps(row | {'path': 'c.jpg', 'detections': []})}\n".encode()
    path = tmp_path / "teachers.jsonl"
    for case in range(cases):
        random = np.random.default_rng([case, 10])
        path.write_bytes(mutated(random, gzip.compress(content, mtime=0) if case % 2 else content))
        attempt(lambda: Teachers(path), path, case)


# --- Pictures ---------------------------------------------------------------------------------------------------------


def encoded(face: Any) -> list[tuple[str, bytes]]:
    """The picture in every format that Pillow writes, with its suffix, and three pages in those that have pages."""
    Image.init()
    found = {}
    for suffix, kind in sorted(Image.registered_extensions().items()):
        if kind not in Image.SAVE or kind in found:
            continue
        for mode in ("RGB", "L", "1", "F", "P"):
            content = io.BytesIO()
            try:
                Image.fromarray(face).convert(mode).save(content, kind)
            except Exception:  # not this mode, or not without another library
                continue
            found[kind] = content.getvalue(), suffix
            break
    assert len(found) > 12
    pages = [Image.fromarray(np.roll(face, 5 * i, axis=1)) for i in range(3)]
    for kind, suffix in (("WEBP", ".webp"), ("GIF", ".gif"), ("PNG", ".png"), ("TIFF", ".tiff")):
        content = io.BytesIO()
        pages[0].save(content, kind, save_all=True, append_images=pages[1:])
        found[f"{kind} with pages"] = content.getvalue(), suffix
    return sorted((suffix, content) for content, suffix in found.values())


def test_pictures(cases: int, tmp_path: Path, face: Any) -> None:
    """The command over a folder of pictures of every format, cut off or with bits flipped, in a process of its own."""
    folder = tmp_path / "in"
    folder.mkdir()
    written = encoded(face)
    suffixes = {suffix for suffix, _ in written}
    for case in range(cases):
        random = np.random.default_rng([case, 9])
        suffix, whole = written[case % len(written)]
        content = bytearray(whole)
        if case % 3 == 0:
            del content[int(random.integers(0, len(content))) :]
        # Half of them where most is decided.
        for _ in range(int(random.integers(0 if case % 3 == 0 else 1, 9))):
            if content:
                reach = min(len(content), 200) if case % 2 else len(content)
                content[int(random.integers(0, reach))] ^= 1 << int(random.integers(0, 8))
        (folder / f"{case:05}{suffix}").write_bytes(content)
    out = tmp_path / "out.json"
    done = subprocess.run(
        [sys.executable, "-m", "mtcnn_fast", "detect", folder, "--device", "cpu", "--json", out],
        capture_output=True,
        text=True,
        timeout=60 + cases,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    entries = json.loads(out.read_text(), parse_constant=pytest.fail)
    searched = {Path(entry["path"]).name for entry in entries}
    left = {path.name for path in folder.iterdir()} - searched
    # What the reader knows no suffix of is passed over, and counted.
    assert {Path(name).suffix for name in left} <= suffixes
    assert not left or "passed over: " in done.stderr
    passed_over = {Path(name).suffix for name in left}
    assert not passed_over & {Path(name).suffix for name in searched}
    failed = [entry for entry in entries if "error" in entry]
    assert failed
    assert len(failed) < len(entries)
    for entry in failed:
        assert "\n" not in entry["error"]
        assert Path(entry["path"]).name in done.stderr
