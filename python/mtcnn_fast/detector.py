"""The detector: it checks arguments and images, and the C++ core does the work."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.advice import can_be_an_array, file_hint
from mtcnn_fast.checks import at_least, described, each, flag, floats, integer, named, number, text
from mtcnn_fast.detections import Detections, Face
from mtcnn_fast.device import DeviceDetections, batch_device_pixels, device_pixels, stream_address
from mtcnn_fast.extra import require
from mtcnn_fast.image import (
    batch_pixels,
    checked_channel_order,
    has_zero_stride,
    is_pil,
    pixels,
    walkable,
    walkable_pixels,
    warn_of_turned,
)
from mtcnn_fast.protocols import is_exported, is_on_host
from mtcnn_fast.streaming import BATCH_SIZE, ImageResult, detect_each_image, readers_for
from mtcnn_fast.weights import load_weights

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Boxes: TypeAlias = "Detections | Face | NDArray[np.float32]"

# Images in one call of the core: per thread, and on a GPU, which uploads some images while it works on others. Ctrl-C
# cannot interrupt a call, and takes effect between calls.
_IMAGES_A_THREAD = 8
_IMAGES_ON_A_GPU = 256

_ALL_FACES = 2**31 - 1
_OUTPUTS = ("host", "device")


class MTCNN:
    """Finds faces, with five landmarks each. Immutable; safe to use from many threads; can be pickled.

    All arguments are keyword-only.

    * min_face_size: shorter side of the smallest face to find, in pixels, >= 4. The larger, the faster.
    * max_face_size: shorter side of the largest face to find, in pixels; None: as large as the image.
    * scale_factor: scale from one pyramid level to the next, in (0, 0.99].
    * thresholds: least face probability of P-Net, R-Net and O-Net, each in [0, 1].
    * nms_thresholds: greatest overlap of boxes that are kept, per level, across levels, after R-Net (over the union of
      two boxes) and after O-Net (over the smaller box), each in [0, 1].
    * device: "auto", "cpu", "cuda" or "cuda:N". "auto" takes a GPU if there is one; the property `device` says which.
    * channel_order: order of images with three or four channels: "rgb", or "bgr", which cv2.imread gives.
    * profile: the package whose numbers are computed: "reference", "facenet-pytorch" or "mtcnn".
    * precision: "fp32", or "fast", which needs a GPU (fp16) or a processor with AMX (bf16), and is fp32 elsewhere. The
      property `precision` says which.
    * landmarks: "direct", from O-Net's answer that made the face, or "mirrored", the mean of O-Net's answers for the
      square about the final box and for the square's mirror image: nearer, for two more crops through O-Net per face
      that is returned. Boxes and scores are the same.
    * weights: None or "2016" for the embedded networks, the path of a safetensors file (also "./2016"), or a mapping of
      names to float32 arrays.
    * num_threads: CPU threads; None: MTCNN_FAST_NUM_THREADS, else the processors that this process may use
      (affinity mask and control group's quota).

    Raises TypeError for an option of a wrong type, ValueError for one out of its range and for a weight file that is
    not whole, RuntimeError, with the reason, for a device that cannot be used. A detector on a GPU serves only the
    process that made it: in a forked child its methods raise RuntimeError. Spawned workers make their own.
    """

    __slots__ = ("_channel_order", "_core", "_options")

    def __init__(
        self,
        *,
        min_face_size: float = 20,
        max_face_size: float | None = None,
        scale_factor: float = 0.709,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        nms_thresholds: Sequence[float] = (0.5, 0.7, 0.7, 0.7),
        device: str = "auto",
        channel_order: str = "rgb",
        profile: str = "reference",
        precision: str = "fp32",
        landmarks: str = "direct",
        weights: str | os.PathLike[str] | Mapping[str, NDArray[np.float32]] | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._channel_order = checked_channel_order(channel_order)
        self._options: dict[str, Any] = {
            "min_face_size": number("min_face_size", min_face_size),
            "max_face_size": None if max_face_size is None else number("max_face_size", max_face_size),
            "scale_factor": number("scale_factor", scale_factor),
            "thresholds": each("thresholds", thresholds, 3, number),
            "nms_thresholds": each("nms_thresholds", nms_thresholds, 4, number),
            "device": text("device", device),
            "profile": text("profile", profile),
            "precision": text("precision", precision),
            "landmarks": text("landmarks", landmarks),
            "weights": load_weights(weights),
            "num_threads": None if num_threads is None else integer("num_threads", num_threads),
        }
        self._core = _core.Detector(**self._options)

    @property
    def options(self) -> dict[str, Any]:
        """Every argument by its name, as the caller gave it; `weights` as None or a mapping."""
        return {**self._options, "channel_order": self._channel_order}

    @property
    def device(self) -> str:
        """The device that it runs on: "cpu" or "cuda:N"."""
        return self._core.device

    @property
    def isa(self) -> str:
        """The instruction set that a detector on the CPU uses: one of `available_isas()`."""
        return self._core.isa

    @property
    def device_name(self) -> str:
        """The GPU's name, from its driver; "" on the CPU."""
        return self._core.device_name

    @property
    def precision(self) -> str:
        """The precision that it computes in: "fp32", "bf16" or "fp16"."""
        return self._core.precision

    @property
    def num_threads(self) -> int:
        """The number of CPU threads in use. Results do not depend on it."""
        return self._core.num_threads

    @overload
    def detect(
        self,
        image: Any,
        *,
        max_faces: int | None = None,
        clip: bool = False,
        stream: Any = None,
        part: tuple[int, int] = (0, 1),
        output: Literal["host"] = "host",
    ) -> Detections: ...
    @overload
    def detect(
        self,
        image: Any,
        *,
        max_faces: int | None = None,
        clip: bool = False,
        stream: Any = None,
        part: tuple[int, int] = (0, 1),
        output: Literal["device"],
    ) -> DeviceDetections: ...
    def detect(
        self,
        image: Any,
        *,
        max_faces: int | None = None,
        clip: bool = False,
        stream: Any = None,
        part: tuple[int, int] = (0, 1),
        output: str = "host",
    ) -> Detections | DeviceDetections:
        """Finds the faces in one image, highest score first.

        image: a uint8 array (H, W, 3), (H, W, 4: alpha is ignored), (H, W) or (H, W, 1), in `channel_order`, with any
        strides. In the host's memory it is an array of NumPy, or of a package with DLPack (PyTorch, JAX). In a GPU's
        memory, for a detector on that GPU, it is an array with DLPack or `__cuda_array_interface__` (PyTorch, CuPy,
        Numba). No array is copied. The image may also be a PIL image in mode RGB, RGBA or L. It is taken as stored,
        with a UserWarning if EXIF would turn it. Faces have to be upright. An image too small for a face has none.
        max_faces: keep so many faces, those with the highest scores; None: all. clip: clip boxes to the image.
        stream: an array in a GPU's memory is read after the work that is queued on this stream: a cudaStream_t as an
        integer, a stream of PyTorch, CuPy or cuda.core; None: the legacy default stream. The detector also waits for
        the stream that the array itself names, and refuses one that is being captured into a CUDA graph. When the call
        returns, the image has been read.
        part: (k, n): search part k of n alone, k from 0 to n - 1, in about 1/n of the time of resizing and P-Net. Each
        of P-Net's windows belongs to one part. Suppression, R-Net and O-Net see what P-Net finds in the part, so that
        several parts may find one face.
        output: "host", or on a GPU "device": the results stay in the GPU's memory.

        Raises TypeError or ValueError for other arguments, with the value and the wanted kind; OSError for a PIL image
        whose file is damaged.
        """
        selection, queue = _selection(max_faces, clip), self._stream(stream)
        wanted, on_device = (*selection, queue, *_part(part)), self._on_device(output)
        view = self._view(image, stream=queue)
        warn_of_turned([("image", image)])
        faces: Detections | DeviceDetections
        (faces,) = self._find([view], wanted, on_device)
        return faces

    @overload
    def detect_batch(
        self,
        images: Any,
        *,
        max_faces: int | None = None,
        clip: bool = False,
        progress: bool = False,
        stream: Any = None,
        part: tuple[int, int] = (0, 1),
        output: Literal["host"] = "host",
    ) -> list[Detections]: ...
    @overload
    def detect_batch(
        self,
        images: Any,
        *,
        max_faces: int | None = None,
        clip: bool = False,
        progress: bool = False,
        stream: Any = None,
        part: tuple[int, int] = (0, 1),
        output: Literal["device"],
    ) -> list[DeviceDetections]: ...
    def detect_batch(
        self,
        images: Any,
        *,
        max_faces: int | None = None,
        clip: bool = False,
        progress: bool = False,
        stream: Any = None,
        part: tuple[int, int] = (0, 1),
        output: str = "host",
    ) -> list[Detections] | list[DeviceDetections]:
        """Finds the faces in each of several images, which may differ in size. Results equal those of `detect`.

        images: a list or tuple of images as `detect` takes them, in the host's and the GPU's memory in any order; or a
        uint8 array (N, H, W, 1, 3 or 4) of one of the kinds that `detect` takes.
        progress: show a progress bar on stderr (needs tqdm, extra `cli`). The other arguments are those of `detect`.

        Raises errors as `detect` does, with the image's index.
        """
        selection, queue = _selection(max_faces, clip), self._stream(stream)
        wanted, on_device = (*selection, queue, *_part(part)), self._on_device(output)
        views = self._views(images, queue)
        self._core.check(views)
        if isinstance(images, list | tuple):
            warn_of_turned((f"image {i}", image) for i, image in enumerate(images))
        bar = _progress_bar(len(views)) if flag("progress", progress) else nullcontext()
        found: list[Any] = []
        with bar as shown:
            for chunk in self._chunks(views):
                found += self._find(chunk, wanted, on_device)
                if shown is not None:
                    shown.update(len(found) - shown.n)
        return found

    def detect_each(
        self,
        sources: Iterable[Any],
        *,
        batch_size: int = BATCH_SIZE,
        readers: int | None = None,
        max_faces: int | None = None,
        clip: bool = False,
    ) -> Generator[ImageResult, None, None]:
        """Finds the faces in each of any number of images and files, in constant memory.

        sources: any iterable, which need not end, of paths, images as `detect` takes them, and pairs (key, path or
        image). Of a file with pages the first is searched.
        batch_size: the most images that are searched at a time. A batch of several has at most 2^25 pixels. With 1, a
        camera's frame is searched before the next one is asked for.
        readers: threads that read the files of the next batch while one is searched; None: two per thread of the
        detector, at most 16.
        max_faces, clip: as in `detect`.

        Yields `ImageResult(key, image, faces, error)` in the order of the sources. The faces equal those of
        `detect(image)`. A source that cannot be read or searched gives a result with an error, and the others follow. A
        damaged file and a file with more pages give a UserWarning. An image must stay as it is until its result comes.
        At most 2^26 pixels of files that were read are in memory, and a picture per reader. The threads end with the
        iteration, also if it is left early.

        Raises as `detect` does for the options, and TypeError for sources that are not iterable or are one image. The
        iteration raises what the sources raise, after the results of what came before, and ImportError for a path
        without Pillow (extra `cli`).
        """
        wanted = (*_selection(max_faces, clip), 0)
        batch_size = at_least("batch_size", batch_size, 1)
        readers = readers_for(self.num_threads) if readers is None else at_least("readers", readers, 1)
        each_source = _iterator(sources)

        def find(views: list[Any]) -> list[Any]:
            return [faces for chunk in self._chunks(views) for faces in self._find(chunk, wanted, False)]

        return detect_each_image(
            find,
            self._checked_view,
            each_source,
            channel_order=self._channel_order,
            batch_size=batch_size,
            readers=readers,
        )

    def __call__(self, image: Any, **options: Any) -> Any:
        """Calls `detect_batch` for a list, a tuple or a 4-D array, and `detect` for anything else."""
        several = isinstance(image, list | tuple) or _dimensions(image) == 4
        return self.detect_batch(image, **options) if several else self.detect(image, **options)

    def inspect(self, image: Any) -> dict[str, Any]:
        """Detects in one image and returns counts and times of the steps.

        {"levels": [{"scale", "height", "width", "windows", "candidates", "after_nms"}, ...], one per pyramid level;
        "candidates": {"cells", "rnet", "onet", "faces"}: windows that passed P-Net, crops that R-Net and O-Net looked
        at (with landmarks "mirrored", two more per face), faces; "confirmed": {"windows", "rnet", "onet"}: windows and
        crops that each network computed in fp32: all, those that a first pass in bf16 or fp16 (the screen) left, or
        none if `precision` is not "fp32"; "milliseconds": {"pnet", "nms", "rnet", "onet", "total"}}
        """
        view = self._view(image)
        warn_of_turned([("image", image)])
        return self._core.inspect(view)

    def windows(self, image: Any, network: str = "onet") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The windows of one image that R-Net ("rnet") or O-Net ("onet") looks at: hard samples to train it with.

        Returns boxes (N, 4): x1, y1, x2, y2 in pixels, square to a pixel; they may lie partly outside the image, where
        the profile "facenet-pytorch" cuts them. And (N,): the probability from the network before, highest first
        within a pyramid level. Raises errors as `detect` does, and RuntimeError on a GPU.
        """
        view = self._view(image)
        warn_of_turned([("image", image)])
        return self._core.windows(view, text("network", network))

    @overload
    def refine(
        self,
        image: list[Any] | tuple[Any, ...],
        boxes: Sequence[Boxes],
        network: str = "onet",
        *,
        stream: Any = None,
    ) -> list[Detections]: ...
    @overload
    def refine(self, image: Any, boxes: Boxes, network: str = "onet", *, stream: Any = None) -> Detections: ...
    def refine(
        self, image: Any, boxes: Any, network: str = "onet", *, stream: Any = None
    ) -> Detections | list[Detections]:
        """Looks only where the boxes are: O-Net's box, score and landmarks for the square about each, in their order.

        It serves to follow faces from frame to frame, and to give landmarks to the boxes of another detector or of a
        person. Neither thresholds nor suppression apply, and nothing is dropped. A box whose square has no pixel in the
        image keeps its corners; its score is 0, and all its landmarks are at its centre. For the windows that O-Net
        looks at in `detect`, the answers equal those of `detect` to the bit. With the detector's option landmarks
        "mirrored", O-Net looks at three crops per box.

        image: an image, or a list or tuple of images, as `detect` takes them. boxes: detections, a face, or an array
        (N, 4): x1, y1, x2, y2 in pixels; for several images a list of these, one per image. network: "onet", for boxes
        that miss a face by less than a quarter of its side, or "both", which first lets R-Net correct rougher ones.
        stream: as in `detect`.

        Raises errors as `detect` does, and ValueError for a box that is not finite or whose corners are in the wrong
        order, with its index.
        """
        queue, network = self._stream(stream), text("network", network)
        if not isinstance(image, list | tuple):
            rows = [_rows(boxes, "boxes", (4,), "boxes")]
            views = [self._view(image, stream=queue)]
            warn_of_turned([("image", image)])
            return Detections(*self._core.refine(views, rows, network, queue)[0])
        if not isinstance(boxes, list | tuple):
            raise TypeError(f"boxes is {described(boxes)}; wanted a list with the boxes of each of the images")
        if len(boxes) != len(image):
            raise ValueError(f"there are {len(image)} images, and boxes for {len(boxes)}")
        rows = [_rows(one, "boxes", (4,), f"boxes of image {i}") for i, one in enumerate(boxes)]
        views = self._views(image, queue)
        warn_of_turned((f"image {i}", one) for i, one in enumerate(image))
        return [Detections(*arrays) for arrays in self._core.refine(views, rows, network, queue)]

    def align(self, image: Any, faces: Detections | Face | NDArray[np.float32], size: int = 112) -> NDArray[np.uint8]:
        """Crops the faces upright, for a recognition network: uint8 (N, size, size, 3), channels as in the image.

        A least-squares similarity maps the landmarks onto the ArcFace template scaled by size / 112. Sampling is
        bilinear, and black outside the image. The crops of a call take at most 16 GiB.

        faces: detections, one face, or landmarks (N, 5, 2). size: pixels, up to 16384.
        """
        landmarks = _rows(faces, "landmarks", (5, 2))
        return _core.align(walkable_pixels(image, self._channel_order), landmarks, integer("size", size))

    def crop(
        self, image: Any, faces: Detections | Face | NDArray[np.float32], size: int = 160, margin: float = 0.0
    ) -> NDArray[np.uint8]:
        """Crops the boxes, stretched to squares: uint8 (N, size, size, 3), channels as in the image.

        Sampling is by pixel area if both sides shrink, else bilinear, and black outside the image.

        faces: detections, one face, or boxes (N, 4). size: as in `align`. margin: share of a box's width and height
        that is added on each side, in (-0.5, 2].
        """
        boxes = _rows(faces, "boxes", (4,))
        size, margin = integer("size", size), number("margin", margin)
        return _core.crop(walkable_pixels(image, self._channel_order), boxes, size, margin)

    def __repr__(self) -> str:
        shown = {name: value for name, value in self._options.items() if name not in ("device", "weights")}
        shown["channel_order"] = self._channel_order
        options = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        weights = "embedded" if self._options["weights"] is None else "custom"
        place = f"cpu ({self.isa})" if self.device == "cpu" else self.device
        return f"<MTCNN on {place}, {weights} weights: {options}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The options include the weights as arrays, so that a worker on another machine needs no file.
        return _restored, (type(self), self.options)

    def _view(self, image: Any, name: str = "image", stream: int = 0) -> _core.HostImage | _core.DeviceImage:
        if is_exported(image) and not is_on_host(image, name):
            return device_pixels(self._core, image, self._channel_order, name, stream)
        if is_pil(image) and 0 not in image.size:
            # An image beyond the limits is refused before it is read from its file.
            with named(name, ValueError):
                self._core.levels(*image.size[::-1])
        return self._host_view(*pixels(image, self._channel_order, name), name)

    def _checked_view(self, image: Any) -> tuple[_core.HostImage | _core.DeviceImage, int]:
        """An image of which a batch of others does not fail, and its pixels."""
        view = self._view(image)
        height, width = view[1] if len(view) == 5 else view[0].shape[:2]
        with named("image", ValueError):
            self._core.levels(height, width)
        return view, height * width

    def _views(self, images: Any, stream: int) -> list[Any]:  # of HostImage and DeviceImage
        if isinstance(images, list | tuple):
            return [self._view(image, f"image {i}", stream) for i, image in enumerate(images)]
        if not is_exported(images) and not isinstance(images, np.ndarray):
            if is_pil(images):
                hint = "; detect takes one image"
            elif can_be_an_array(images):
                hint = "; try numpy.asarray(images)"
            else:
                hint = file_hint(images)
            if not hint and isinstance(images, Iterable) and not isinstance(images, Mapping):
                hint = "; try list(images)"
            raise TypeError(f"images is {described(images)}; wanted a list, a tuple or a 4-D uint8 array{hint}")
        if is_exported(images) and not is_on_host(images, "images"):
            return batch_device_pixels(self._core, images, self._channel_order, stream)
        views = batch_pixels(images, self._channel_order)
        return [self._host_view(*view, f"image {i}") for i, view in enumerate(views)]

    def _host_view(self, array: NDArray[np.uint8], pixel_format: str, name: str) -> _core.HostImage:
        if has_zero_stride(array):
            # A few bytes can represent an image of any size, so one beyond the limits is refused before it is copied.
            with named(name, ValueError):
                levels = self._core.levels(*array.shape[:2])
            # The core looks at nothing in an image without levels. A pixel has none either, and replaces it.
            array = array if levels else array[:1, :1]
        return walkable(array, name), pixel_format

    def _chunks(self, views: list[Any]) -> Iterator[list[Any]]:
        size = _IMAGES_A_THREAD * self.num_threads if self.device == "cpu" else _IMAGES_ON_A_GPU
        return (views[start : start + size] for start in range(0, len(views), size))

    def _find(
        self, views: list[Any], wanted: tuple[Any, ...], on_device: bool
    ) -> list[Any]:  # of Detections, or on_device of DeviceDetections
        if on_device:
            return [DeviceDetections(*arrays) for arrays in self._core.detect_on_device(views, *wanted)]
        return [Detections(*arrays) for arrays in self._core.detect(views, *wanted)]

    def _stream(self, stream: object) -> int:
        address = stream_address(stream)
        if stream is not None and self.device == "cpu":
            raise ValueError("stream is given, and the detector runs on the CPU; use device='cuda', or stream=None")
        return address

    def _on_device(self, output: object) -> bool:
        if text("output", output) not in _OUTPUTS:
            raise ValueError(f"output is {output!r}; wanted one of {_OUTPUTS}")
        if output == "device" and self.device == "cpu":
            raise ValueError(
                "output is 'device', and the detector runs on the CPU; use device='cuda', or output='host'"
            )
        return output == "device"


def _restored(kind: type[MTCNN], options: dict[str, Any]) -> MTCNN:
    return kind(**options)


def _selection(max_faces: object, clip: object) -> tuple[int, bool]:
    limit = _ALL_FACES if max_faces is None else integer("max_faces", max_faces)
    if limit < 0:
        raise ValueError(f"max_faces is {limit}; wanted None or an integer of at least 0")
    return limit, flag("clip", clip)


def _part(part: object) -> tuple[tuple[int, int], ...]:
    k, n = each("part", part, 2, integer)
    if not 0 <= k < n:
        raise ValueError(f"part is ({k}, {n}); wanted (k, n) with 0 <= k < n")
    return () if n == 1 else ((k, n),)


def _iterator(sources: Any) -> Iterator[Any]:
    if isinstance(sources, str | os.PathLike | bytes | bytearray | memoryview):
        hint = "; try [path], or pathlib.Path(folder).rglob('*.jpg')"
    elif isinstance(sources, Mapping):
        hint = "; try mapping.items()"
    elif is_pil(sources) or _dimensions(sources) in (2, 3):
        hint = "; try [image]"
    else:
        try:
            return iter(sources)
        except TypeError:
            hint = ""
    raise TypeError(f"sources is {described(sources)}; wanted an iterable of paths and images{hint}")


def _dimensions(image: object) -> int:
    try:
        shape = getattr(image, "shape", None)
        interface = None if shape is not None else getattr(image, "__cuda_array_interface__", None)
    except Exception:  # `detect` raises it, with the image's name
        return 0
    if shape is None:
        shape = interface.get("shape") if isinstance(interface, dict) else None
    return len(shape) if isinstance(shape, tuple) else 0


def _progress_bar(total: int) -> Any:
    return require("tqdm", "progress=True").tqdm(total=total, unit="image")


def _rows(faces: object, name: str, shape: tuple[int, ...], argument: str | None = None) -> NDArray[np.float32]:
    """The boxes or landmarks, as `name` says, of detections or of one face; or a caller's own array (N, *shape)."""
    if isinstance(faces, Face):
        rows = (faces.box if name == "boxes" else faces.landmarks)[np.newaxis]
    elif isinstance(faces, Detections):
        rows = getattr(faces, name)
    else:
        rows = floats(argument or f"faces, as {name},", faces, (None, *shape))
    return np.ascontiguousarray(rows, dtype=np.float32)
