"""Files of pictures in which faces are hidden: what is kept, and what would still show a face."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

import mtcnn_fast
from mtcnn_fast import Detections, blurred_pictures
from mtcnn_fast.blurred_pictures import blurred

pytest.importorskip("cv2")

BOX = np.array([[40.0, 20, 80, 70]])
SECRET = b"this stands for the pixels of a face" * 40
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF>%s</rdf:RDF></x:xmpmeta>"


@pytest.fixture(scope="module")
def picture(astronaut: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(astronaut[80:240, 140:340]))


@pytest.fixture
def faces() -> Detections:
    return Detections(BOX, np.ones(1), np.zeros((1, 5, 2)))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def opened(content: bytes) -> Any:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


def deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257 + 3)


def palette(picture: Image.Image) -> Image.Image:
    return picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)


LOSSLESS: list[tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any]]] = [
    *(("PNG", lambda picture, mode=mode: picture.convert(mode), {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    ("PNG", deep, {}),
    ("PNG", palette, {"transparency": 3}),
    ("PNG", palette, {"transparency": bytes((0, 100))}),
    ("GIF", palette, {"transparency": 3}),
    ("BMP", lambda picture: picture, {}),
    ("WEBP", lambda picture: picture, {"lossless": True}),
    *(("TIFF", lambda picture: picture, {"compression": each}) for each in ("raw", "tiff_lzw", "tiff_adobe_deflate")),
    ("TIFF", lambda picture: picture.convert("1"), {"compression": "group4"}),
    ("TIFF", lambda picture: picture.convert("CMYK"), {}),
    ("TIFF", deep, {}),
    ("TIFF", lambda picture: Image.fromarray(np.asarray(picture.convert("L"), np.float32) / 255), {}),
]


@pytest.mark.parametrize("how", ["gaussian", "solid"])
@pytest.mark.parametrize(("kind", "convert", "options"), LOSSLESS)
def test_lossless_pixels_elsewhere_are_kept_to_the_bit(
    picture: Image.Image,
    faces: Detections,
    kind: str,
    convert: Callable[[Image.Image], Image.Image],
    options: dict[str, Any],
    how: str,
) -> None:
    content = encoded(convert(picture), kind, **options)
    before, after = opened(content), opened(blurred(content, faces, how, 0))
    assert (after.format, after.mode, after.size) == (kind, before.mode, before.size)
    assert after.info.get("transparency") == before.info.get("transparency")
    assert after.info.get("compression") == before.info.get("compression")
    if before.mode == "P":
        before, after = before.convert("RGBA"), after.convert("RGBA")
        assert (np.asarray(after)[45, 60, 3] == 255).all()
    changed = np.array(before) != np.array(after)
    changed = changed.any(2) if changed.ndim == 3 else changed
    assert changed[30:60, 50:70].mean() > (0.2 if before.mode == "1" else 0.7)
    outside = np.ones(changed.shape, np.bool_)
    outside[20:70, 40:80] = False
    assert not changed[outside].any()


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 40}),
        ("JPEG", "RGB", {"quality": 85, "subsampling": 0, "progressive": True}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("WEBP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "jpeg"}),
        ("AVIF", "RGB", {}),
        ("HEIF", "RGB", {}),
    ],
)
def test_lossy_pictures_keep_what_they_can(
    picture: Image.Image, faces: Detections, kind: str, mode: str, options: dict[str, Any]
) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    try:
        content = encoded(picture.convert(mode), kind, **options)
    except (KeyError, OSError):
        pytest.skip(f"Pillow has no encoder for {kind} here")
    before, after = opened(content), opened(blurred(content, faces, "solid", 0))
    assert (after.format, after.mode, after.size) == (kind, mode, before.size)
    if kind == "JPEG":
        assert after.quantization == before.quantization
        assert after.layer == before.layer
        assert after.info.get("progressive") == before.info.get("progressive")
    difference = np.abs(np.asarray(before.convert("RGB"), int) - np.asarray(after.convert("RGB")))
    assert difference[30:60, 50:70].mean() > 40
    assert difference[:, 100:].mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_place_in_a_turned_picture(picture: Image.Image, faces: Detections, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    content = encoded(picture, "PNG", exif=exif.tobytes())
    after = blurred(content, faces, "solid", 0)
    assert opened(after).getexif()[274] == orientation
    before, upright = mtcnn_fast.read(content), mtcnn_fast.read(after)
    changed = (before != upright).any(2)
    rows, columns = np.nonzero(changed)
    np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], BOX[0], atol=1)


@pytest.mark.parametrize("part", ["_kept_exif", "upright"])
def test_the_place_in_a_turned_picture_with_damaged_exif(
    picture: Image.Image, faces: Detections, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The face is hidden where reading sees it, whichever part of EXIF fails, and the picture stays turned."""
    exif = Image.Exif()
    exif[274] = 6
    content = encoded(picture, "PNG", exif=exif.tobytes())

    def fail(*_: Any) -> Any:
        raise struct.error("damaged")

    if part == "upright":
        monkeypatch.setattr(ImageOps, "exif_transpose", fail)
    else:
        monkeypatch.setattr(blurred_pictures, part, fail)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = mtcnn_fast.read(content)
        after = blurred(content, faces, "solid", 0)
        rows, columns = np.nonzero((before != mtcnn_fast.read(after)).any(2))
    np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], BOX[0], atol=1)
    assert opened(after).getexif()[274] == 6


def exif_with_a_thumbnail() -> bytes:
    exif = Image.Exif()
    exif[270] = "a caption"
    exif[50341] = SECRET
    exif[34665] = {36867: "2020:01:02 03:04:05", 37500: SECRET, 37510: SECRET}
    exif[34853] = {1: "N", 2: (48.0, 51.0, 29.0)}
    tiff = exif.tobytes()[6:]
    entries = struct.unpack_from("<H", tiff, 8)[0]
    place = 8 + 2 + 12 * entries
    thumbnail = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, len(tiff) + 30, 514, 4, 1, len(SECRET), 0)
    return b"Exif\0\0" + tiff[:place] + struct.pack("<I", len(tiff)) + tiff[place + 4 :] + thumbnail + SECRET


def shows(content: bytes) -> bool:
    return SECRET[:36] in content or SECRET[:36].hex().encode() in content


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + bytes(4)


def test_metadata_of_a_jpeg(picture: Image.Image, faces: Detections) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    jpeg = encoded(
        picture, "JPEG", exif=exif_with_a_thumbnail(), icc_profile=profile, dpi=(300, 300), comment=b"a comment",
        xmp=XMP % b"<rdf:li>a title</rdf:li>",
    )  # fmt: skip
    iptc = b"8BIM\x04\x04\0\0\0\0\0\x07a names8BIM\x04\x0c\0\0" + struct.pack(">I", len(SECRET)) + SECRET
    extra = segment(0xE0, b"JFXX\0\x10" + SECRET) + segment(0xE2, b"FPXR\0" + SECRET)
    extra += segment(0xED, b"Photoshop 3.0\0" + iptc.replace(b"s8BIM", b"s\x008BIM"))
    content = jpeg[:20] + extra + jpeg[20:] + SECRET
    after = blurred(content, faces, "gaussian", 0.2)
    kept, before = opened(after), opened(content)
    assert not shows(after)
    assert kept.info["icc_profile"] == profile
    assert kept.info["dpi"] == (300, 300)
    assert kept.info["comment"] == b"a comment"
    assert kept.info["xmp"] == before.info["xmp"]
    assert kept.info["photoshop"] == {0x0404: b"a names"}
    exif = kept.getexif()
    assert dict(exif) == {270: "a caption", 34665: exif[34665], 34853: exif[34853]}
    assert exif.get_ifd(34665) == {36867: "2020:01:02 03:04:05"}
    assert exif.get_ifd(34853) == {1: "N", 2: (48.0, 51.0, 29.0)}
    assert not exif.get_ifd(1)


def test_a_picture_in_xmp(picture: Image.Image, faces: Detections) -> None:
    letters = b"&#xA;".join([b"QUJDREVGR0g" * 7] * 20)
    for kind in ("JPEG", "WEBP"):
        content = encoded(picture, kind, xmp=XMP % (b"<xmpGImg:image>" + letters + b"</xmpGImg:image>"))
        assert b"QUJDREVGR0g" in content
        assert b"QUJDREVGR0g" not in blurred(content, faces, "gaussian", 0.2)


def test_metadata_of_a_png(picture: Image.Image, faces: Detections) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a title")
    info.add_itxt("Author", "someone", "en", "Author")
    info.add_text("Raw profile type exif", SECRET.hex())
    info.add_text("Preview", "QUJDREVGR0gAB" * 100, zip=True)
    png = encoded(picture, "PNG", pnginfo=info, exif=exif_with_a_thumbnail(), dpi=(100, 100))
    colors = chunk(b"gAMA", struct.pack(">I", 45455))
    end = png[-12:]
    content = png[:33] + colors[:-4] + struct.pack(">I", 0x0BFC6105) + png[33:-12] + chunk(b"prVw", SECRET) + end
    kept = opened(after := blurred(content, faces, "gaussian", 0.2))
    assert not shows(after)
    assert kept.text == {"Title": "a title", "Author": "someone"}
    assert kept.info["gamma"] == 0.45455
    assert kept.info["dpi"] == opened(content).info["dpi"]
    assert kept.getexif()[270] == "a caption"


def test_previews_of_heif(picture: Image.Image, faces: Detections) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    content = encoded(picture, "HEIF", thumbnails=[64])
    assert opened(content).info["thumbnails"]
    assert not opened(blurred(content, faces, "gaussian", 0.2)).info.get("thumbnails")


def test_a_second_view_is_left_out(picture: Image.Image, faces: Detections) -> None:
    content = encoded(picture, "MPO", save_all=True, append_images=[picture])
    assert content.count(b"\xff\xd8\xff") == 2
    after = blurred(content, faces, "gaussian", 0.2)
    assert opened(after).format == "JPEG"
    assert after.count(b"\xff\xd8\xff") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda each: encoded(each.convert("P"), "GIF", save_all=True, append_images=[each.rotate(9)]), "2 frames"),
        (lambda each: encoded(each, "PNG", save_all=True, append_images=[each.rotate(9)]), "it has 2 frames"),
        (lambda each: encoded(each, "WEBP", save_all=True, append_images=[each.rotate(9)]), "it has 2 frames"),
        (lambda each: encoded(each, "TIFF", save_all=True, append_images=[each]), "it has 2 frames"),
        (lambda each: encoded(each, "PPM"), "a picture in PPM is not written; wanted one of JPEG, "),
        (lambda each: encoded(each.convert("YCbCr"), "TIFF"), "its mode is YCbCr; wanted one of 1, L, "),
        (lambda each: deep_colors(), "it has 16 bits per channel, which would become 8"),
    ],
)
def test_pictures_that_cannot_be_kept(
    picture: Image.Image, faces: Detections, content: Callable[[Image.Image], bytes], message: str
) -> None:
    with pytest.raises(OSError, match=message):
        blurred(content(picture), faces, "gaussian", 0.2)


def deep_colors() -> bytes:
    cv2 = pytest.importorskip("cv2")
    encoded: bytes = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint16))[1].tobytes()
    return encoded
