"""Archives, lists and documents that are made to harm: limits, names that lead out, parsers that fail."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn_fast.cli import main
from mtcnn_fast.datasets import Problems, limits, listings, matlab, read
from mtcnn_fast.datasets.pictures import leads_out
from mtcnn_fast.evaluate import archives, read_detections

TEXT = b"a.jpg\n1\n1 2 30 40 .9\n"
NAMES = ("e/a.txt", "e/b.txt", "e/c.txt")
OBJECT = "<object><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox></object>"


def tar(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                entry = tarfile.TarInfo(member[0])
                entry.size = len(member[1])
                archive.addfile(entry, io.BytesIO(member[1]))
    return content.getvalue()


def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return content.getvalue()


def detections(path: Path, content: bytes | None = None, **options: Any) -> tuple[list[str], list[str], list[str]]:
    """Names of the pictures, problems, notes; each in one line."""
    if content is not None:
        path.write_bytes(content)
    problems, notes = Problems(), Problems()
    names = [found.name for found in read_detections(path, problems=problems, notes=notes, **options)]
    assert not [told for told in (*problems, *notes) if "\n" in told]
    return names, list(problems), list(notes)


ALL = [(name, TEXT) for name in NAMES]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_tar_archives_that_are_cut_off(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    whole = pack(tar(*ALL))
    assert detections(tmp_path / "whole", whole) == (["e/a", "e/b", "e/c"], [], [])
    plain = pack is bytes
    # Without its end a tar of pictures that all are there is one that lacks some, for all that is known.
    for size in (600, 1024, 1536, 3072) if plain else (*range(20, len(whole), 7), len(whole) - 1):
        with pytest.raises(ValueError, match=r"^\S*cut is not a whole archive: [^\n]*$"):
            detections(tmp_path / "cut", whole[:size], format="wider")


def test_a_tar_archive_with_a_header_that_is_none(tmp_path: Path) -> None:
    content = bytearray(tar(*ALL))
    content[1024] ^= 1  # the name of the second
    with pytest.raises(ValueError, match="behind its last member there is neither another nor an end"):
        detections(tmp_path / "a.tar", bytes(content))


def test_headers_of_any_length(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**33 - 1
    with pytest.raises(ValueError, match="is not a whole archive: it has a header of 8589934592 bytes"):
        detections(tmp_path / "a.tar.gz", gzip.compress(header.tobuf() + bytes(2**20)))


def test_zip_members_that_cannot_be_read(tmp_path: Path) -> None:
    content = bytearray(zipped(*ALL))
    # In the central directory, which counts: the flag of encryption of the first, an unknown method of the second.
    first = content.index(b"PK\x01\x02")
    content[first + 8] |= 1
    second = content.index(b"PK\x01\x02", first + 1)
    content[second + 10] = 97
    names, problems, _ = detections(tmp_path / "a.zip", bytes(content))
    assert names == ["e/c"]
    assert [told.partition(": ")[0] for told in problems] == [f"{tmp_path}/a.zip/{name}" for name in NAMES[:2]]
    assert "encrypted" in problems[0]
    assert "compression" in problems[1]


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_zip_members(how: int, tmp_path: Path) -> None:
    content = bytearray(zipped(*ALL, how=how))
    begin = content.index(b"e/b.txt") + len("e/b.txt")
    content[begin + 6 : begin + 14] = b"\xff" * 8
    names, problems, _ = detections(tmp_path / "a.zip", bytes(content))
    assert names == ["e/a", "e/c"]
    (told,) = problems
    assert told.startswith(f"{tmp_path}/a.zip/e/b.txt: cannot be read: ")


def test_links_in_archives_are_passed_over(tmp_path: Path) -> None:
    links = []
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        entry = tarfile.TarInfo("e/link.txt")
        entry.type, entry.linkname = kind, "/etc/passwd"
        links.append(entry)
    names, problems, (note,) = detections(tmp_path / "a.tar", tar(*ALL, *links))
    assert (names, problems) == (["e/a", "e/b", "e/c"], [])
    assert note.endswith("passed over: 2 special (links, pipes, devices)")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("e/link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr(*ALL[0])
    note = f"{tmp_path}/a.zip: passed over: 1 special (links, pipes, devices)"
    assert detections(tmp_path / "a.zip") == (["e/a"], [], [note])


@pytest.mark.parametrize("name", ["../e/a.txt", "/e/a.txt", "x/../../e/a.txt", "..\\e\\a.txt"])
def test_members_that_lead_out_of_an_archive(name: str, tmp_path: Path) -> None:
    for content in (tar((name, TEXT), ALL[1]), zipped((name, TEXT), ALL[1])):
        names, (told,), _ = detections(tmp_path / "a", content)
        assert names == ["e/b"]
        assert "leads out of the archive; it is taken with --outside" in told
        assert detections(tmp_path / "a", outside=True) == (["e/a", "e/b"], [], [])


def memory(script: str, *arguments: object, megabytes: int = 1200) -> str:
    """What a script prints that may have so much memory, where systems know such limits; it has a minute."""
    limited = script
    if sys.platform == "linux":
        most = megabytes << 20
        limited = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({most}, {most}))\n{script}"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", limited, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    ).stdout


def test_an_archive_of_a_text_that_fills_memory(tmp_path: Path) -> None:
    # 1.5 GB of zeros in 1.5 MB.
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("e/a.txt", "w") as member:
            for _ in range(1500):
                member.write(bytes(10**6))
        archive.writestr(*ALL[1])
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as packed:
        header = tarfile.TarInfo("e/a.txt")
        header.size = 400 * 2**20
        packed.write(header.tobuf())
        for _ in range(400):
            packed.write(bytes(2**20))
        packed.write(tar(ALL[1]))
    script = """
import sys
from mtcnn_fast.datasets import Problems
from mtcnn_fast.evaluate.detection_files import read_detections
for path in sys.argv[1:]:
    problems = Problems()
    print([found.name for found in read_detections(path, problems=problems)], *problems)
"""
    lines = memory(script, tmp_path / "a.zip", tmp_path / "a.tar.gz").splitlines()
    assert lines == [
        f"['e/b'] {tmp_path}/{name}/e/a.txt: cannot be read: it has more than 16777216 bytes, which is the limit"
        for name in ("a.zip", "a.tar.gz")
    ]


def test_what_an_archive_unpacks_to_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ARCHIVE", 2000)
    for content in (gzip.compress(tar(*ALL)), zipped(*((name, TEXT * 40) for name in NAMES))):
        with pytest.raises(ValueError, match=r"^\S*a unpacks to more than 2000 bytes, which is the limit$"):
            detections(tmp_path / "a", content)


def test_files_in_a_folder_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TEXT", len(TEXT))
    for name, text in (("a.txt", TEXT), ("b.txt", TEXT + b"\n")):
        (tmp_path / name).write_bytes(text)
    names, (told,), _ = detections(tmp_path)
    assert len(names) == 1
    assert told == f"{tmp_path}/b.txt: cannot be read: it has more than {len(TEXT)} bytes, which is the limit"


def test_lines_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_LINE", 100)
    monkeypatch.setattr(limits, "_PIECE", 30)
    entry = json.dumps({"path": "a.jpg", "faces": []})
    for count in (60, 120):
        (tmp_path / "a.jsonl").write_text(f"{entry}\n{entry}{' ' * count}\n{entry}\n")
        (tmp_path / "a.txt").write_text(f"a.jpg\n1\n1 2 3 4{' ' * count}\r\rb.jpg\n0\n")
        if count == 60:
            assert len(detections(tmp_path / "a.jsonl")[0]) == 3
            assert len(list(read(tmp_path / "a.txt"))) == 2
            continue
        for name, line in (("a.jsonl", 2), ("a.txt", 3)):
            with pytest.raises(ValueError, match=rf"^\S*{name}:{line}: the line has more than 100 bytes, which is"):
                list(read_detections(tmp_path / name) if line == 2 else read(tmp_path / name))


def test_faces_of_a_picture_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (limits, listings):
        monkeypatch.setattr(module, "MAX_FACES", 2)
    (tmp_path / "a.txt").write_text("a.jpg\n3\n1 2 3 4\n2 2 3 4\n3 2 3 4\nb.jpg\n1\n1 2 3 4\n")
    problems = Problems()
    found = list(read(tmp_path / "a.txt", problems=problems))
    assert [(len(picture.boxes), picture.complete) for picture in found] == [(2, False), (1, True)]
    assert list(problems) == [f"{tmp_path}/a.txt:1: 'a.jpg' has more than 2 rows, which is the limit"]
    (tmp_path / "a.xml").write_text(f"<annotation>{OBJECT * 3}</annotation>")
    problems = Problems()
    (picture,) = read(tmp_path / "a.xml", problems=problems)
    assert (len(picture.boxes), picture.complete) == (2, False)
    assert list(problems) == [f"{tmp_path}/a.xml: object 3: the picture has more than 2 faces, which is the limit"]
    face = {"box": [1, 2, 3, 4], "score": 1}
    names, (told,), _ = detections(tmp_path / "a.jsonl", json.dumps({"path": "a", "faces": [face] * 3}).encode())
    assert (names, "faces[2]: the picture has more than 2 faces" in told) == (["a"], True)


def test_many_rows_of_a_picture_take_no_longer_each(tmp_path: Path) -> None:
    row = " 84 161 92 169 106.25 107.75 146.75 112.25 125.25 142.75 105.25 157.75 139.75 161.{:05}\n"
    (tmp_path / "list.txt").write_text("".join(f"a.jpg{row.format(i)}" for i in range(10_000)))
    (found,) = read(tmp_path / "list.txt")
    assert len(found.boxes) == 10_000


def test_entities_that_grow(tmp_path: Path) -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    (tmp_path / "a.xml").write_text(
        f'<!DOCTYPE a [<!ENTITY l0 "lol">{laughs}]><annotation><filename>&l11;</filename></annotation>'
    )
    (tmp_path / "b.xml").write_text(f"<annotation>{OBJECT}</annotation>")
    script = """
import sys
from mtcnn_fast.datasets import Problems, read
problems = Problems()
print([found.name for found in read(sys.argv[1], "voc", problems=problems)], *problems)
"""
    assert memory(script, tmp_path).startswith(f"['b'] {tmp_path}/a.xml:1: not XML: ")
    (tmp_path / "a.xml").write_text(
        '<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]><annotation><filename>&x;</filename></annotation>'
    )
    assert "undefined entity" in memory(script, tmp_path)


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("a.jpg", False),
        ("s/../a.jpg", False),
        ("s/t/../../a.jpg", False),
        ("../a.jpg", True),
        ("s/../../a.jpg", True),
        ("/etc/passwd", True),
        ("/data/images/a.jpg", False),
        ("/data/images/../a.jpg", True),
        ("/data/images2/a.jpg", True),
        ("..a.jpg", False),
    ],
)
def test_names_that_lead_out(name: str, out: bool) -> None:
    assert leads_out(name, Path("/data/images")) == out


def rows_of(format: str, name: str) -> tuple[str, str]:
    """A file's name and its content, which is about that picture and one that is in the folder."""
    if format == "voc":
        return "a.xml", f"<annotation><filename>{name}</filename>{OBJECT}</annotation>"
    if format == "coco":
        images = [{"id": i, "file_name": each} for i, each in enumerate((name, "in.jpg"))]
        return "a.json", json.dumps({"images": images, "annotations": []})
    if format == "celeba":
        return "list_bbox_celeba.txt", f"2\nimage_id x\n{name} 1 2 3 4\nin.jpg 1 2 3 4\n"
    if format == "facepoint":
        numbers = " 84 161 92 169 106.25 107.75 146.75 112.25 125.25 142.75 105.25 157.75 139.75 161.75"
        return "a.txt", f"{name}{numbers}\nin.jpg{numbers}\n"
    if format == "retinaface":
        return "a.txt", f"# {name}\n1 2 3 4\n# in.jpg\n"
    return "a.txt", f"{name}\n1\n1 2 3 4\nin.jpg\n0\n"


@pytest.mark.parametrize("format", ["wider", "voc", "coco", "celeba", "facepoint", "retinaface"])
def test_annotations_that_lead_out_of_the_folder(format: str, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    if format == "celeba":
        (tmp_path / "list_landmarks_celeba.txt").write_text("0\nx\n")
    for name in ("../../etc/passwd.jpg", "/etc/passwd.jpg", "..\\x.jpg"):
        file, content = rows_of(format, name)
        (tmp_path / file).write_text(content)
        for outside in (False, True):
            problems = Problems()
            found = list(read(tmp_path / file, format, images=folder, outside=outside, problems=problems))
            assert len(found) == (0 if format == "voc" else 1) + outside
            assert any("leads out of" in told and "--outside" in told for told in problems) != outside
    for name in ("s/../a.jpg", f"{folder}/a.jpg"):
        file, content = rows_of(format, name)
        (tmp_path / file).write_text(content)
        (first, *_) = read(tmp_path / file, format, images=folder, problems=Problems())
        assert (first.name, first.path) == (name, folder / name)


def test_xml_in_a_folder_below_may_lead_up(tmp_path: Path) -> None:
    for name in ("xml/s/a.xml", "xml/s/b.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "xml/s/a.xml").write_text(f"<annotation><filename>../a.jpg</filename>{OBJECT}</annotation>")
    (tmp_path / "xml/s/b.xml").write_text(f"<annotation><filename>../../a.jpg</filename>{OBJECT}</annotation>")
    problems = Problems()
    (found,) = read(tmp_path / "xml", problems=problems)
    assert found.name == "s/../a.jpg"
    (told,) = problems
    assert told.startswith(f"{tmp_path}/xml/s/b.xml: '../../a.jpg' leads out of ")


def test_the_commands_have_an_option_for_names_that_lead_out(
    tmp_path: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "a.txt").write_text(f"{astronaut_path}\n1\n177 69 90 120\n")
    labels = ["--annotations", str(tmp_path / "list" / "a.txt")]
    output = ["--json", str(tmp_path / "a.jsonl"), "--device", "cpu"]
    main(["evaluate", "detect", *labels, *output])
    assert "--outside" in capsys.readouterr().err
    assert main(["evaluate", "detect", *labels, *output, "--outside"]) == 0
    assert main(["evaluate", "faces", str(tmp_path / "a.jsonl"), *labels, "--outside"]) == 0
    described = f"s=wider:{tmp_path}/list/a.txt"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["evaluate", "table", "--set", described, "--device", "cpu"])
    assert "--outside" in capsys.readouterr().err
    assert main(["evaluate", "table", "--set", f"{described},outside=yes", "--device", "cpu"]) == 0
    assert "| s | 1 |" in capsys.readouterr().out


def test_documents_that_nest(tmp_path: Path) -> None:
    for depth in (1000, 100_000):
        deep = "[" * depth + "]" * depth
        with pytest.raises(ValueError, match=r"^\S*a\.json[^\n]*$"):
            list(read_detections(_written(tmp_path / "a.json", '{"a": ' + deep + "}"), "document"))
        with pytest.raises(ValueError, match=r"^\S*a\.json[^\n]*$"):
            list(read(tmp_path / "a.json"))
        names, problems, _ = detections(
            tmp_path / "a.jsonl", f'{deep}\n{{"path": "a", "faces": []}}\n'.encode(), format="jsonl"
        )
        assert (names, len(problems)) == (["a"], 1)
        assert problems[0].startswith(f"{tmp_path}/a.jsonl:1: ")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_parsers_of_matlab_files_that_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "a.mat", {"x": np.eye(2), "y": "text"})
    found = matlab.variables(tmp_path / "a.mat", ("x", "y", "z"))
    assert (found["x"].tolist(), found["y"].tolist(), len(found)) == ([[1, 0], [0, 1]], ["text"], 2)

    script = tmp_path / "parser.py"
    monkeypatch.setattr(matlab.matlab_parser, "__file__", str(script))
    monkeypatch.setattr(matlab, "SECONDS", 1)
    for code, words in (
        (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", r"its parser crashed \(signal 11\)"),
        ("import time; time.sleep(30)", "its parser does not end within 1 s"),
        ("raise SystemExit('out of luck')", "its parser failed: out of luck"),
        ("print('{}')", "is not a whole MATLAB file"),
        ("print('[')", "is not a whole MATLAB file"),
    ):
        script.write_text(code)
        with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.mat is not a whole MATLAB file: .*") as raised:
            matlab.variables(tmp_path / "a.mat", ("x",))
        assert raised.match(words)
    monkeypatch.setattr(matlab, "MAX_FILE", 100)
    with pytest.raises(ValueError, match="it has more than 100 bytes"):
        matlab.variables(tmp_path / "a.mat", ("x",))


def test_a_matlab_file_that_fills_memory(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "a.mat", {"event_list": np.zeros((5000, 5000), np.uint8)}, do_compression=True)
    with pytest.raises(ValueError, match=r"a\.mat is not a whole MATLAB file: .*more than 20000000 values"):
        list(read(tmp_path / "a.mat"))


def test_the_zip_of_a_tar_is_a_tar(tmp_path: Path) -> None:
    inner = zipped(("e/z.txt", TEXT))
    assert detections(tmp_path / "a.tar", tar(ALL[0], ("inner.zip", inner)))[0] == ["e/a"]
    # A zip archive may have something before it.
    assert detections(tmp_path / "a.zip", b"#!/bin/sh\n" + zipped(ALL[0]))[0] == ["e/a"]


def test_zip_entries_that_lie_about_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TEXT", 1000)
    content = bytearray(zipped(("e/a.txt", bytes(100_000)), ALL[1]))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<I", 10)
    names, problems, _ = detections(tmp_path / "a.zip", bytes(content))
    assert names == ["e/b"]
    assert len(problems) == 1
