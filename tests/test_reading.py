"""Reading pictures: every format upright in RGB, and what the decoder leaves unsaid."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

import mtcnn_fast
from mtcnn_fast import MTCNN, read, reading

DETECTOR = MTCNN(device="cpu")


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def has_one_face(image: NDArray[np.uint8]) -> bool:
    faces = DETECTOR.detect(image)
    return len(faces) == 1 and bool(faces.scores[0] > 0.99)


@pytest.fixture
def picture(astronaut: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(astronaut)


def test_every_source_gives_the_same(astronaut_path: Path, tmp_path: Path) -> None:
    with Image.open(astronaut_path) as opened:
        expected = np.asarray(opened)
    content = astronaut_path.read_bytes()
    sources: list[Any] = [astronaut_path, str(astronaut_path), content, bytearray(content), memoryview(content)]
    sources += [io.BytesIO(content), urllib.request.urlopen(astronaut_path.as_uri())]
    for source in sources:
        image = read(source)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected)
        image[0, 0] = 0  # the caller's own
    with astronaut_path.open("rb") as file:
        np.testing.assert_array_equal(read(file), expected)
        assert not file.closed


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (None, TypeError, "source is None"),
        (3, TypeError, "wanted a path, bytes, or a file"),
        (io.StringIO("text"), TypeError, "opened for reading bytes"),
        (io.TextIOWrapper(io.BytesIO(b"\xff\xd8")), TypeError, "opened for reading bytes"),
        (np.zeros((4, 4, 3), np.uint8), TypeError, "wanted a path, bytes, or a file"),
        (b"", OSError, "the file is empty"),
        (b"no picture", OSError, "not a picture that Pillow can decode"),
        (b"\0\0\0\x18ftypheic" + bytes(100), OSError, r"not a picture|cannot be decoded"),
        ("missing.jpg", FileNotFoundError, "missing.jpg"),
        (".", IsADirectoryError, "Is a directory"),
        ("a\0b.jpg", OSError, "no file can have this name"),
        ("x" * 5000, OSError, "File name too long"),
        ("/dev/null", OSError, "a device"),
    ],
)
def test_what_is_no_picture(source: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(source)


@pytest.mark.parametrize("page", [-1, 1, 100])
def test_a_page_that_there_is_not(picture: Image.Image, page: int) -> None:
    with pytest.raises(IndexError, match=f"page is {page}; "):
        read(written(picture, "PNG"), page)


def test_heic_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reading._pillow.cache_clear()
    try:
        if "HEIF" in Image.OPEN:
            pytest.skip("pillow-heif has been used in this process")
        assert ".heic" not in reading.suffixes()
        with pytest.raises(OSError, match="pip install pillow-heif"):
            read(b"\0\0\0\x18ftypheic" + bytes(100))
    finally:
        reading._pillow.cache_clear()


def test_heic(picture: Image.Image) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    content = io.BytesIO()
    pillow_heif.from_pillow(picture).save(content)
    assert ".heic" in reading.suffixes()
    assert has_one_face(read(content.getvalue()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"])
def test_every_mode_has_its_face(picture: Image.Image, astronaut: NDArray[np.uint8], mode: str) -> None:
    gray = astronaut[..., 1]
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
        assert image is not None
    elif mode in ("I;16", "I"):
        image = Image.fromarray((gray.astype(np.uint16) * 257).astype({"I;16": np.uint16, "I": np.int32}[mode]))
    elif mode == "F":
        image = Image.fromarray(gray.astype(np.float32) / 255)
    else:
        image = picture.convert(mode)
    found = read(written(image, "TIFF"))
    assert found.shape == astronaut.shape
    assert has_one_face(found)
    if mode in ("I;16", "I", "F"):
        np.testing.assert_array_equal(found, np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize("endian", ["<", ">"])
def test_16_bits_are_scaled(tmp_path: Path, endian: str) -> None:
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 1, 255]
    # A PGM of 16 bits is big-endian, and Pillow makes 32-bit integers of it.
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    assert read(tmp_path / "a.pgm")[0, :, 0].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("values", [[-1.0, 0.5], [0.0, 300.0], [0.0, float("nan")]])
def test_values_without_a_known_white_are_refused(values: list[float]) -> None:
    with pytest.raises(OSError, match="its values run from"):
        read(written(Image.fromarray(np.array([values], np.float32)), "TIFF"))


def test_transparency_in_a_palette(picture: Image.Image) -> None:
    palette = picture.convert("P")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert has_one_face(read(written(palette, "PNG", transparency=bytes(range(256)))))
        assert has_one_face(read(written(palette, "GIF", transparency=3)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(picture: Image.Image, kind: str, orientation: int) -> None:
    # What a camera stores whose picture must be turned so.
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    wide = picture.crop((0, 60, 512, 512))
    exif = Image.Exif()
    exif[274] = orientation
    image = read(written(wide.transpose(stored[orientation]) if orientation > 1 else wide, kind, exif=exif))
    assert image.shape == (452, 512, 3)
    assert np.abs(image.astype(int) - np.asarray(wide)).mean() < 8


def test_damaged_exif_costs_nothing(picture: Image.Image) -> None:
    content = written(picture, "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    with reading.as_a_command():
        (found,) = reading.pages(content)
    assert has_one_face(found.pixels)
    assert "EXIF" in str(found.damage)


def test_a_jpeg_without_its_end_is_whole(astronaut_path: Path) -> None:
    content = astronaut_path.read_bytes()
    whole = read(content)
    for cut in (content[:-2], content[:-1], content + b"\0" * 1000, content + b"more"):
        np.testing.assert_array_equal(read(cut), whole)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_damaged_jpeg_is_told(picture: Image.Image, share: float, mode: str) -> None:
    pytest.importorskip("simplejpeg")
    for options in ({}, {"progressive": True}):
        content = written(picture.convert(mode), "JPEG", **options)
        assert next(reading.pages(content)).damage is None
        cut = content[: int(len(content) * share)]
        with pytest.warns(UserWarning, match="is damaged: .*premature end"):
            assert read(cut).shape == (512, 512, 3)
        with_a_hole = content[: int(len(content) * share)] + content[int(len(content) * share) + 200 :]
        assert next(reading.pages(with_a_hole)).damage is not None


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF"])
def test_a_picture_that_is_cut_off_is_told(picture: Image.Image, kind: str) -> None:
    content = written(picture, kind)
    with pytest.raises(OSError, match=r"the picture': ."):
        read(content[: len(content) // 2])


def test_bytes_before_a_header_are_no_damage(astronaut_path: Path) -> None:
    content = astronaut_path.read_bytes()
    place = content.index(b"\xff\xdb")
    assert next(reading.pages(content[:place] + b"\0\0\0" + content[place:])).damage is None


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "AVIF"])
def test_every_page(picture: Image.Image, kind: str, tmp_path: Path) -> None:
    others = [picture.rotate(180), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    path = tmp_path / "pages"
    path.write_bytes(written(picture, kind, save_all=True, append_images=others, lossless=True, quality=95))
    found = list(reading.pages(path))
    assert [(page.page, page.pages) for page in found] == [(0, 3), (1, 3), (2, 3)]
    assert [len(DETECTOR.detect(page.pixels)) for page in found] == [1, 0, 1]
    with pytest.warns(UserWarning, match=r"has 3 pages; this is the first: mtcnn_fast.read\(..., page=0\)"):
        np.testing.assert_array_equal(read(path), found[0].pixels)
    for page in range(3):
        np.testing.assert_array_equal(read(path, page=page), found[page].pixels)
    with pytest.raises(IndexError, match="page is 3"):
        read(path, page=3)
    with pytest.raises(TypeError, match="page is True"):
        read(path, page=True)
    assert reading.first_page(path)[1] == "the first of 3 pages is taken"


def test_few_bytes_of_many_pixels_are_not_decoded(picture: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [picture.crop((0, 0, 64, 64)), picture.crop((64, 0, 128, 64))]
    content = bytearray(written(pages[0], "WEBP", save_all=True, append_images=pages[1:]))
    monkeypatch.setattr(reading, "_MOST_PIXELS_PER_BYTE", 1)
    monkeypatch.setattr(reading, "_MOST_PIXELS_OF_ANY_FILE", 64 * 64)
    found = reading.pages(bytes(content) + bytes(64 * 64))
    assert next(found).pages == 2
    with pytest.raises(OSError, match=rf"^it has 8192 pixels up to page 1; wanted at most {len(content) + 4096} of"):
        next(found)
    monkeypatch.undo()
    # Width and height of an animation's canvas, less one each.
    content[24:30] = 2 * (2**15 - 1).to_bytes(3, "little")
    with reading.as_a_command(), pytest.raises(OSError, match=r"^it has 1073741824 pixels up to page 0;"):
        next(reading.pages(bytes(content)))


def test_a_reduced_copy_is_no_page(picture: Image.Image) -> None:
    file = io.BytesIO()
    small = picture.resize((64, 64))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    picture.save(file, "TIFF", save_all=True, append_images=[small], tiffinfo={254: 0})
    with Image.open(file) as opened:
        assert opened.n_frames == 2
        opened.seek(1)
        if not opened.tag_v2.get(254):  # type: ignore[attr-defined]
            pytest.skip("this Pillow writes one value for all pages")
    assert [page.pages for page in reading.pages(file.getvalue())] == [1]


def test_previews_beside_a_photograph_are_no_pages(picture: Image.Image) -> None:
    content = written(picture, "MPO", save_all=True, append_images=[picture.resize((100, 100))])
    assert [page.pages for page in reading.pages(content)] == [1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_read_to_its_end(astronaut_path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = astronaut_path.read_bytes()
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(content))
    writer.start()
    np.testing.assert_array_equal(read(tmp_path / "pipe"), read(content))
    writer.join()


def test_any_exception_of_a_decoder_is_an_oserror(monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> None:
    content = written(picture, "PNG")
    for error in (SyntaxError("broken"), KeyError("x"), ZeroDivisionError(), Image.DecompressionBombError("large")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(OSError, match=r"cannot be decoded|large"):
            read(content)


def test_the_limit_of_pillow_is_told(monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> None:
    content = written(picture, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(OSError, match="MAX_IMAGE_PIXELS"):
        read(content)
    with reading.as_a_command():
        assert next(reading.pages(content)).damage is None
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_warnings_of_pillow_are_the_pictures_own(monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> None:
    content = written(picture, "PNG")
    load = Image.Image.load

    def complain(image: Image.Image) -> Any:
        warnings.warn_explicit("Truncated File Read", UserWarning, "PIL/File.py", 1, module="PIL.File")
        logging.getLogger("PIL.File").error("more samples than %d", 4)
        return load(image)

    monkeypatch.setattr(Image.Image, "load", complain)
    with reading.as_a_command():
        damage: list[Any] = [None, None]

        def one(place: int) -> None:
            damage[place] = next(reading.pages(content)).damage

        threads = [threading.Thread(target=one, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert damage == ["Truncated File Read; more samples than 4"] * 2


def test_a_large_picture_is_not_damaged(monkeypatch: pytest.MonkeyPatch, picture: Image.Image) -> None:
    monkeypatch.setattr(reading, "_MOST_PIXELS", 200_000)
    with reading.as_a_command():
        assert next(reading.pages(written(picture, "PNG"))).damage is None
        with pytest.raises(OSError, match="exceeds limit"):
            next(reading.pages(written(picture.resize((1024, 512)), "PNG")))


def suffixes_of_opencv() -> list[str]:
    return [".avif", ".bmp", ".gif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif"]


def test_suffixes() -> None:
    known = reading.suffixes()
    assert known >= {*suffixes_of_opencv(), ".tiff", ".webp", ".jfif", ".mpo"}
    assert not known & {".eps", ".h5", ".mpg", ".pdf", ".txt", ".wmf"}


def test_importing_the_package_imports_no_decoder() -> None:
    code = "import sys, mtcnn_fast; sys.exit(any(name in sys.modules for name in ('PIL', 'cv2', 'simplejpeg')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_pillow(monkeypatch: pytest.MonkeyPatch, astronaut_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    reading._pillow.cache_clear()
    try:
        with pytest.raises(ImportError, match="reading pictures needs PIL"):
            mtcnn_fast.read(astronaut_path)
    finally:
        reading._pillow.cache_clear()


def test_many_threads(astronaut_path: Path) -> None:
    expected, found = read(astronaut_path), []
    work: Callable[[], None] = lambda: found.append(read(astronaut_path))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(image, expected) for image in found)
