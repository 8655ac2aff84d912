#!/usr/bin/env python3
"""Make a toy data set, on which every command of docs/training.md and docs/evaluation.md runs.

The face of tests/data/astronaut.jpg is scaled, mirrored, made brighter or darker, and pasted on noise, so that its box
and its five points are known. The folder has the layout of docs/data.md, under the names of the real sets. Figures
measured on it show that a command works, and say nothing about a detector.

    pip install ".[evaluate]"
    python tools/make_toy_set.py toy
    mtcnn-fast evaluate detect --annotations toy/facemask/annotations --json faces.jsonl
"""

from __future__ import annotations

import argparse
import io
import math
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parents[1]

# The face in tests/data/astronaut.jpg, labelled by hand as WIDER FACE does, from the hair to the chin.
BOX = np.array([179.0, 60.0, 268.0, 174.0])
POINTS = np.array([[204.0, 101.0], [246.0, 103.0], [225.0, 129.0], [202.0, 140.0], [245.0, 142.0]])
HEAD = (140, 15, 308, 215)
MIRRORED = [1, 0, 2, 4, 3]

EVENTS = ("0--Toy", "1--Toy")
# Least heights of the faces in WIDER FACE's easy, medium and hard set, pixels.
LEAST_HEIGHTS = {"easy": 50, "medium": 30, "hard": 10}
IGNORED_BELOW = 30


@dataclass(frozen=True)
class Scene:
    """A picture and its labels."""

    picture: Image.Image
    boxes: NDArray[np.float64]
    """(N, 4): x1, y1, x2, y2."""
    points: NDArray[np.float64]
    """(N, 5, 2): left eye, right eye, nose, left and right mouth corner, as seen in the picture."""

    @property
    def rows(self) -> NDArray[np.float64]:
        """(N, 4): x, y, width, height."""
        return np.hstack((self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]))


class Scenes:
    """Draws scenes at random, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        with Image.open(ROOT / "tests" / "data" / "astronaut.jpg") as picture:
            self._head = picture.convert("RGB").crop(HEAD)

    def noise(self, width: int, height: int) -> Image.Image:
        """Blurred noise of a random colour."""
        coarse = self._random.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3))
        colour = self._random.integers(0, 256, 3)
        picture = Image.fromarray(((coarse + 2 * colour) // 3).astype(np.uint8)).resize((width, height), 3)
        fine = self._random.normal(0, 6, (height, width, 3))
        return Image.fromarray(np.clip(np.asarray(picture) + fine, 0, 255).astype(np.uint8))

    def draw(self, width: int, height: int, faces: Sequence[int]) -> Scene:
        """A scene with a face of each of these heights, side by side."""
        picture, boxes, points = self.noise(width, height), [], []
        for number, face_height in enumerate(faces):
            column = width / len(faces)
            scale = min(face_height / (BOX[3] - BOX[1]), column / self._head.width, height / self._head.height)
            size = (round(self._head.width * scale), round(self._head.height * scale))
            x = round(number * column + self._random.random() * (column - size[0]))
            y = round(self._random.random() * (height - size[1]))
            mirror = bool(self._random.integers(2))
            head = np.asarray(self._head.resize(size, Image.Resampling.LANCZOS)) * self._random.uniform(0.8, 1.2)
            head = np.clip(head[:, ::-1] if mirror else head, 0, 255).astype(np.uint8)
            mask = Image.new("L", size)
            ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
            picture.paste(Image.fromarray(head), (x, y), mask.filter(ImageFilter.GaussianBlur(size[0] / 40)))
            box, five = self._labels(size, mirror)
            boxes.append(box + np.array((x, y, x, y)))
            points.append(five + np.array((x, y)))
        return Scene(picture, np.array(boxes).reshape(-1, 4), np.array(points).reshape(-1, 5, 2))

    def several(self, count: int, width: int, height: int, most_faces: int = 3) -> list[Scene]:
        """Scenes with one to `most_faces` faces of 14 to 110 pixels."""
        numbers = (1 + i % most_faces for i in range(count))
        return [self.draw(width, height, self._random.integers(14, 110, n).tolist()) for n in numbers]

    def shaken(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Detections of labelled faces, (N, 5): x, y, width, height moved by some percent, and a score."""
        sizes = np.tile(rows[:, 2:], 2)
        moved = rows + self._random.normal(0, 0.03, rows.shape) * sizes
        return np.hstack((moved, self._random.uniform(0.7, 1, (len(rows), 1))))

    @staticmethod
    def _labels(size: tuple[int, int], mirror: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The box and the points within the pasted head."""
        scale = np.array(size) / (HEAD[2] - HEAD[0], HEAD[3] - HEAD[1])
        corners = (BOX.reshape(2, 2) - HEAD[:2]) * scale
        five = (POINTS - HEAD[:2]) * scale
        if mirror:
            corners[:, 0] = size[0] - corners[::-1, 0]
            five = five[MIRRORED]
            five[:, 0] = size[0] - five[:, 0]
        return corners.reshape(4), five


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def save(scene: Scene | Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = scene.picture if isinstance(scene, Scene) else scene
    picture.save(path, quality=92)


def named(scenes: Sequence[Scene], pattern: str) -> Iterator[tuple[str, Scene]]:
    return ((pattern.format(i), scene) for i, scene in enumerate(scenes))


def write_lists(folder: Path, names: Sequence[str]) -> None:
    """train.txt lists two thirds of the pictures, to learn from. test.txt lists the others, to measure on."""
    for name, chosen in (("train", names[len(names) // 3 :]), ("test", names[: len(names) // 3])):
        write(folder / f"{name}.txt", "".join(f"{one}\n" for one in chosen))


def wider_rows(name: str, scene: Scene) -> str:
    """An entry of a list of WIDER FACE: the name, the count, boxes and six attributes."""
    rows = (f"{' '.join(f'{value:.0f}' for value in row)} 0 0 0 0 0 0\n" for row in scene.rows)
    return f"{name}\n{len(scene.boxes)}\n{''.join(rows)}"


def write_wider(folder: Path, scenes: Scenes) -> None:
    """WIDER FACE: pictures of training and validation, the ground truth of its evaluation, detections and a curve."""
    parts = {"train": scenes.several(24, 320, 240), "val": scenes.several(12, 320, 240)}
    for part, drawn in parts.items():
        entries = []
        for number, scene in enumerate(drawn):
            name = f"{EVENTS[number % 2]}/{number}.jpg"
            save(scene, folder / f"WIDER_{part}" / "images" / name)
            entries.append((name, scene))
        text = "".join(wider_rows(name, scene) for name, scene in sorted(entries, key=lambda entry: entry[0]))
        write(folder / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt", text)
    evaluation = folder / "wider_face_eval"
    for place in (folder / "wider_face_split", evaluation / "ground_truth_mat"):
        place.mkdir(parents=True, exist_ok=True)
        write_wider_ground_truth(place, parts["val"])
    write_wider_detections(evaluation / "retinaface_mnet025_val_predictions.tar.gz", parts["val"], scenes)
    write_wider_curves(evaluation / "mtcnn_official_pr_curves")


def cells(values: Sequence[Any]) -> NDArray[Any]:
    """A column of MATLAB cells."""
    column = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        column[i, 0] = value
    return column


def write_wider_ground_truth(folder: Path, scenes: Sequence[Scene]) -> None:
    events = [list(named(scenes, "{}"))[start::2] for start in range(len(EVENTS))]
    for name, least in LEAST_HEIGHTS.items():
        members = [[1 + np.flatnonzero(scene.rows[:, 3] >= least)[:, None] for _, scene in event] for event in events]
        variables = {
            "event_list": cells(EVENTS),
            "file_list": cells([cells([picture for picture, _ in event]) for event in events]),
            "face_bbx_list": cells([cells([scene.rows for _, scene in event]) for event in events]),
            "gt_list": cells([cells(of_event) for of_event in members]),
        }
        scipy.io.savemat(folder / f"wider_{name}_val.mat", variables)


def write_wider_detections(archive: Path, scenes: Sequence[Scene], shaken: Scenes) -> None:
    with tarfile.open(archive, "w:gz") as file:
        for number, scene in enumerate(scenes):
            rows = (" ".join(f"{value:.4f}" for value in row) for row in shaken.shaken(scene.rows))
            text = "\n".join((str(number), str(len(scene.boxes)), *rows)) + "\n"
            member = tarfile.TarInfo(f"predictions/{EVENTS[number % 2]}/{number}.txt")
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))


def write_wider_curves(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    recall = np.linspace(0, 0.9, 1000)
    for name, least in LEAST_HEIGHTS.items():
        precision = 1 - recall**4 * (1 - least / 100)
        variables = {"pr_cruve": np.column_stack((precision, recall)), "legend_name": "toy"}
        scipy.io.savemat(folder / f"Val_{name}.mat", variables)


def write_fddb(folder: Path, scenes: Scenes) -> None:
    """FDDB: two folds of ellipses, their pictures, and detections."""
    drawn = list(named(scenes.several(12, 320, 240), "2002/07/19/big/img_{}"))
    detections = []
    for fold, start in (("01", 0), ("02", 1)):
        chosen = drawn[start::2]
        write(folder / "FDDB-folds" / f"FDDB-fold-{fold}.txt", "".join(f"{name}\n" for name, _ in chosen))
        ellipses = (f"{name}\n{len(scene.boxes)}\n{ellipse_rows(scene)}" for name, scene in chosen)
        write(folder / "FDDB-folds" / f"FDDB-fold-{fold}-ellipseList.txt", "".join(ellipses))
        for name, scene in chosen:
            save(scene, folder / "originalPics" / f"{name}.jpg")
            rows = "".join(" ".join(f"{value:.4f}" for value in row) + "\n" for row in scenes.shaken(scene.rows))
            detections.append(f"{name}\n{len(scene.boxes)}\n{rows}")
    write(folder / "mtcnn_hualitlc" / "predict.txt", "".join(detections))


def ellipse_rows(scene: Scene) -> str:
    """Major and minor radius, angle of the major axis, centre, 1: the ellipses in the boxes."""
    return "".join(f"{h / 2} {w / 2} {math.pi / 2} {x + w / 2} {y + h / 2}  1\n" for x, y, w, h in scene.rows)


def write_wider_val_416(folder: Path, scenes: Scenes) -> None:
    """A list of WIDER FACE, and pictures of 416 x 416 pixels."""
    drawn = list(named(scenes.several(12, 416, 416), "0_Toy_Toy_0_{}.jpg"))
    for name, scene in drawn:
        save(scene, folder / "images" / name)
    write(folder / "gt_416.txt", "".join(wider_rows(name, scene) for name, scene in drawn))
    write_lists(folder, [name for name, _ in drawn])


def write_facemask(folder: Path, scenes: Scenes) -> None:
    """Pascal VOC's XML files, in which the smallest faces are marked as difficult."""
    drawn = list(named(scenes.several(12, 400, 300), "toy{}.jpg"))
    for name, scene in drawn:
        save(scene, folder / "images" / name)
        objects = "".join(
            f"<object><name>face</name><difficult>{int(y2 - y1 < IGNORED_BELOW)}</difficult><bndbox>"
            f"<xmin>{x1 + 1:.0f}</xmin><ymin>{y1 + 1:.0f}</ymin><xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax>"
            "</bndbox></object>\n"
            for x1, y1, x2, y2 in scene.boxes
        )
        text = f"<annotation><filename>{name}</filename>\n{objects}</annotation>\n"
        write(folder / "annotations" / f"{Path(name).stem}.xml", text)
    write_lists(folder, [name for name, _ in drawn])


def write_net_7876(folder: Path, scenes: Scenes) -> None:
    """Lists of CNN_FacePoint: one face per picture, with its points."""
    rows = []
    for name, scene in named(scenes.several(24, 250, 250, most_faces=1), "net_7876/{}.jpg"):
        save(scene, folder / name)
        (x1, y1, x2, y2), five = scene.boxes[0], scene.points[0].ravel()
        rows.append(f"{name} {x1:.0f} {x2:.0f} {y1:.0f} {y2:.0f} {' '.join(f'{value:.6f}' for value in five)}")
    write_lists(folder, rows)


def write_backgrounds(folder: Path, scenes: Scenes) -> None:
    """Noise, under the names that bench/training/backgrounds.txt lists."""
    for name in (ROOT / "bench" / "training" / "backgrounds.txt").read_text().splitlines():
        save(scenes.noise(96, 72), folder / name)


def write_photos(folder: Path, scenes: Scenes) -> None:
    for name, scene in named(scenes.several(4, 640, 480), "toy_{}.jpg"):
        save(scene, folder / name)


def write_configuration(folder: Path) -> None:
    """The configuration of a training run of a minute. It shows only that training runs."""
    text = """\
[[sources]]
annotations = "wider_face_split/wider_face_train_bbx_gt.txt"

[[sources]]               # has the landmarks
annotations = "net_7876/train.txt"

[[validation]]
annotations = "wider_face_split/wider_face_val_bbx_gt.txt"
"""
    settings = 'epochs = 2\nbatches = 40\nbatch_size = 128\noptimizer = "adam"\nlearning_rate = 0.003\n'
    write(folder / "run.toml", text + "".join(f"\n[{network}]\n{settings}" for network in ("pnet", "rnet", "onet")))


WRITERS = {
    ".": write_wider,
    "fddb_eval": write_fddb,
    "wider_val_416": write_wider_val_416,
    "facemask": write_facemask,
    "net_7876": write_net_7876,
    "negatives": write_backgrounds,
    "photos": write_photos,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to make, which must not exist")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (%(default)s)")
    arguments = parser.parse_args()
    try:
        arguments.folder.mkdir(parents=True)
    except FileExistsError:
        parser.error(f"{arguments.folder} exists already; wanted a folder to make")
    for number, (name, writer) in enumerate(WRITERS.items()):
        writer(arguments.folder / name, Scenes(1000 * arguments.seed + number))
    write_configuration(arguments.folder)
    folder = arguments.folder
    print(f"{folder}: made. The commands of docs/evaluation.md and docs/training.md run on it with DATA={folder}")


if __name__ == "__main__":
    main()
