"""Jobs on Ray: the folder of a job, its blocks, and a cluster of two workers of which one is killed."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mtcnn_fast.integrations import DetectFaces
from mtcnn_fast.integrations.job_folder import Block, Counts, JobFolder
from mtcnn_fast.integrations.ray_job import Task, is_address, search_block

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

PHOTOGRAPH = Path(__file__).parent / "data" / "astronaut.jpg"
OPTIONS: dict[str, Any] = {"min_face_size": 40, "device": "cpu"}
SETTINGS = {"min_face_size": 40.0}


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(folder / name).to_pylist()
    return rows


# --- The folder of a job, without Ray --------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A photograph with a face, a picture without, and two files that are none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.jpg").symlink_to(PHOTOGRAPH)
    Image.new("RGB", (50, 60)).save(folder / "b.png")
    (folder / "c.jpg").write_bytes(b"no picture")
    (folder / "d.jpg").write_bytes(b"no picture")
    return folder


NAMES = ["a.jpg", "b.png", "c.jpg", "d.jpg"]


def test_blocks_of_a_list(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    names = ["a.jpg", "line\nend.jpg", "bytes \udcff.jpg", "é.jpg", ""]
    folder.begin(SETTINGS, names).close()
    blocks = list(folder.blocks(2))
    assert [(block.number, block.pictures) for block in blocks] == [(0, 2), (1, 2), (2, 1)]
    assert [name for block in blocks for name in folder.names(block)] == names


def test_a_block_is_searched_and_its_failures_again(tmp_path: Path, pictures: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin(SETTINGS, NAMES).close()
    task = Task(folder, DetectFaces("source", **OPTIONS), pictures)
    (block,) = folder.blocks(10)
    assert folder.counts(block) is None
    report = search_block(task, block)
    why = "not a picture that Pillow can decode"
    assert (report.pictures, report.earlier, report.faces, report.failed, report.damaged) == (4, 0, 1, 2, 0)
    assert report.remarks == ["c.jpg", why, "d.jpg", why]
    assert folder.counts(block) == Counts(pictures=4, faces=1, failed=2, damaged=0)
    assert [(row["path"], row["face"], row["width"]) for row in table(folder.path, "faces")] == [
        ("a.jpg", 0, 512),
        ("b.png", None, 50),
    ]
    assert table(folder.path, "failed") == [{"path": name, "page": 0, "pages": 1, "error": why} for name in NAMES[2:]]

    (pictures / "a.jpg").unlink()  # it is not read again
    (pictures / "c.jpg").write_bytes(PHOTOGRAPH.read_bytes())
    again = search_block(task, block)
    assert (again.pictures, again.earlier, again.faces, again.failed) == (4, 2, 2, 1)
    (pictures / "a.jpg").symlink_to(PHOTOGRAPH)
    anew = JobFolder(tmp_path / "anew")
    anew.begin(SETTINGS, NAMES).close()
    search_block(Task(anew, task.detect, pictures), block)
    for name in ("faces", "failed"):
        assert table(folder.path, name) == table(anew.path, name)


def test_a_block_without_faces_is_searched_again(tmp_path: Path, pictures: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin(SETTINGS, NAMES).close()
    task = Task(folder, DetectFaces("source", **OPTIONS), pictures)
    block = list(folder.blocks(2))[1]
    assert [(report.pictures, report.failed) for report in (search_block(task, block) for _ in range(2))] == [
        (2, 2)
    ] * 2
    assert table(folder.path, "faces") == []


def test_a_worker_is_killed_between_its_two_files(tmp_path: Path, pictures: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin(SETTINGS, NAMES).close()
    task = Task(folder, DetectFaces("source", **OPTIONS), pictures)
    (block,) = folder.blocks(10)
    search_block(task, block)
    failed = folder.path / "failed" / "000000.parquet"
    before = failed.read_bytes()
    (pictures / "c.jpg").write_bytes(PHOTOGRAPH.read_bytes())
    search_block(task, block)
    wanted = table(folder.path, "faces"), table(folder.path, "failed")
    failed.write_bytes(before)
    assert folder.counts(block) == Counts(pictures=4, faces=2, failed=2, damaged=0)
    search_block(task, block)
    assert (table(folder.path, "faces"), table(folder.path, "failed")) == wanted


def test_attempts_at_a_block(tmp_path: Path, pictures: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin(SETTINGS, NAMES).close()
    (block,) = folder.blocks(10)
    assert [folder.attempts(block) for _ in range(3)] == [0, 1, 2]
    assert folder.attempts(Block(1, 0, 0)) == 0
    search_block(Task(folder, DetectFaces("source", **OPTIONS), pictures), block)
    assert folder.attempts(block) == 0
    folder.begin(SETTINGS, NAMES).close()
    assert folder.attempts(block) == 0


@pytest.mark.parametrize(
    ("settings", "names", "words"),
    [
        ({"min_face_size": 20.0}, NAMES, "begun with other settings: min_face_size is 20.0, was 40.0; name another"),
        (SETTINGS, NAMES[:3], "of other pictures: picture 4 is 'd.jpg' there, and no more here"),
        (SETTINGS, [*NAMES, "e.jpg"], "of other pictures: picture 5 is no more there, and 'e.jpg' here"),
        (SETTINGS, ["0.jpg", *NAMES], "of other pictures: picture 1 is 'a.jpg' there, and '0.jpg' here"),
    ],
)
def test_another_job_in_the_folder(tmp_path: Path, settings: dict[str, Any], names: list[str], words: str) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.begin(SETTINGS, NAMES).close()
    with pytest.raises(ValueError, match="job") as raised:
        folder.begin(settings, names)
    assert words in str(raised.value)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="files of others"):
        JobFolder(tmp_path).begin(SETTINGS, NAMES)
    with pytest.raises(OSError, match="no folder"):
        JobFolder(tmp_path / "mine.txt" / "job").begin(SETTINGS, NAMES)
    folder = JobFolder(tmp_path / "job")
    with folder.begin(SETTINGS, NAMES), pytest.raises(FileExistsError, match="another run is writing"):
        folder.begin(SETTINGS, NAMES)


# --- The command, with Ray -------------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mtcnn_fast", "detect", *arguments]


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def test_addresses() -> None:
    wanted = ("auto", "local", "10.0.0.1:6379", "head.example.org:6379", "[::1]:6379", "ray://head:10001")
    assert all(map(is_address, wanted))
    assert not any(map(is_address, ("", "pictures", "/pictures:1/a", "10.0.0.1", "C:\\pictures")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ray",), "required: PATH"),
        (("--ray", "gone"), "gone is neither an address (HOST:PORT, auto, local) nor a PATH"),
        (("--ray", "pictures"), "wanted --output DIR with it"),
        (("pictures", "--output", "job"), "argument --output: it is about --ray"),
        (("pictures", "--block", "3"), "argument --block: it is about --ray"),
        (
            ("pictures", "--output", "job", "--ray", "--json", "faces.json"),
            "argument --json: it does not go with --ray",
        ),
        (("pictures", "--output", "job", "--ray", "--resume"), "--ray goes on by itself"),
        (("-", "--output", "job", "--ray"), "argument PATH: - is read by one process"),
        (("pictures", "--output", "job", "--ray", "--block", "0"), "block is 0; wanted at least 1"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(pictures.parent)
    status, printed = run(*arguments)
    assert (status, printed.count("\n"), words in printed) == (2, 1, True), printed
    assert not (tmp_path / "job").exists()


def test_a_wrong_address_is_one_line(tmp_path: Path, pictures: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = other.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as other:
        for port, why in ((used, "Connection refused"), (other.getsockname()[1], "timed out")):
            status, printed = run("--ray", f"127.0.0.1:{port}", str(pictures), "--output", str(tmp_path / "job"))
            assert (status, printed.count("\n")) == (2, 1), printed
            assert f"no Ray cluster at 127.0.0.1:{port}: {why}" in printed
    assert not (tmp_path / "job").exists()


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with a processor each."""
    pytest.importorskip("ray")
    utilities = pytest.importorskip("ray.cluster_utils")
    size = {"num_cpus": 1, "object_store_memory": 2**27, "include_dashboard": False}
    cluster = utilities.Cluster(initialize_head=True, head_node_args=size)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def finished(job: Path) -> int:
    return len(list(job.glob("failed/*.parquet")))


def working(job: Path) -> int:
    return len(list(job.glob("unfinished/*.attempt.*")))


def test_a_worker_is_killed_in_the_middle(cluster: Any, tmp_path: Path, pictures: Path) -> None:
    second = cluster.add_node(num_cpus=1, object_store_memory=2**27)
    cluster.wait_for_nodes()
    for i in range(400):
        (pictures / f"a{i:03}.jpg").symlink_to(PHOTOGRAPH)
    job = tmp_path / "job"
    options = ["--ray", cluster.address, str(pictures), "--output", str(job), "--block", "6", "--min-face-size", "8"]
    with subprocess.Popen(command(*options), stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (finished(job) >= 3 and working(job) == 2):
            time.sleep(0.01)
        assert process.poll() is None
        cluster.remove_node(second, allow_graceful=False)
        printed = process.communicate(timeout=300)[1]
    assert process.returncode == 1  # two files are no pictures
    expected = DetectFaces("path", min_face_size=8, device="cpu").lists([PHOTOGRAPH])[0]
    names = Counter(row["path"] for row in table(job, "faces"))
    wanted = {str(path): 1 if path.name == "b.png" else len(expected) for path in pictures.iterdir()}
    failed = [str(pictures / name) for name in ("c.jpg", "d.jpg")]
    assert names == {path: count for path, count in wanted.items() if path not in failed}
    assert [row["path"] for row in table(job, "failed")] == failed
    faces = [row for row in table(job, "faces") if row["path"] == str(pictures / "a.jpg")]
    assert [{**row, "error": None} for row in faces] == [{"path": str(pictures / "a.jpg"), **row} for row in expected]
    assert f"404 pictures, {401 * len(expected)} faces, 2 failed, " in printed
    assert not (job / "unfinished").exists()

    times = {path: path.stat().st_mtime_ns for path in job.rglob("*.parquet")}
    status, printed = run(*options)
    assert (status, f"404 pictures, {401 * len(expected)} faces, 402 from an earlier run, 2 failed" in printed) == (
        1,
        True,
    )
    again = {path.name for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert again == {"000067.parquet"}  # the block of the two
