"""Modules under the names of other packages, for programs whose imports cannot be changed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, NamedTuple


class _Peer(NamedTuple):
    """Another package. Its modules go by their names below it, "" for the package itself."""

    modules: dict[str, str | None]
    """Per module of it, parents first, the module of mtcnn_fast that has its names; None: there is none."""
    lacking: dict[str, tuple[str, ...]]
    """Per module of it, the public names that mtcnn_fast lacks."""
    exported: tuple[str, ...]
    """Those among them that the package itself has too."""
    remedy: str


_FACENET = "mtcnn_fast.compat.facenet_pytorch"
_MTCNN = "mtcnn_fast.compat.mtcnn"
_PEERS = {
    "facenet_pytorch": _Peer(
        modules={
            "": _FACENET,
            "models": None,
            "models.inception_resnet_v1": None,
            "models.mtcnn": _FACENET,
            "models.utils": _FACENET,
            "models.utils.detect_face": _FACENET,
            "models.utils.training": f"{_FACENET}.training",
        },
        lacking={
            "models.inception_resnet_v1": (
                *("InceptionResnetV1", "BasicConv2d", "Block8", "Block17", "Block35", "Mixed_6a", "Mixed_7a"),
                *("get_torch_home", "load_weights"),
            ),
            "models.mtcnn": ("ONet", "PNet", "RNet"),
            "models.utils.detect_face": (
                *("batched_nms_numpy", "bbreg", "crop_resize", "detect_face", "fixed_batch_process"),
                *("generateBoundingBox", "get_size", "imresample", "nms_numpy", "pad", "rerec", "save_img"),
            ),
            "models.utils.training": ("BatchTimer", "Logger", "accuracy", "pass_epoch"),
        },
        exported=("InceptionResnetV1", "ONet", "PNet", "RNet"),
        remedy="pip install --no-deps facenet-pytorch",
    ),
    "mtcnn": _Peer(
        modules={
            "": _MTCNN,
            "exceptions": f"{_MTCNN}.exceptions",
            "exceptions.invalid_image": f"{_MTCNN}.exceptions",
            "mtcnn": f"{_MTCNN}.mtcnn",
            "stages": f"{_MTCNN}.stages",
            "utils": None,
            "utils.images": f"{_MTCNN}.utils.images",
            "utils.plotting": f"{_MTCNN}.utils.plotting",
        },
        lacking={
            "utils.images": (
                *("apply_scales", "build_scale_pyramid", "ensure_stack", "extract_patches", "normalize_images"),
                *("pad_stack_np", "pad_stack_tf", "scale_images", "standarize_batch"),
            ),
            "utils.plotting": ("parse_color", "plot_all"),
        },
        exported=(),
        remedy="pip install mtcnn",
    ),
}


class _StandIn(ModuleType):
    """A module under another package's name, with names of mtcnn_fast. Others come from that package's own module."""

    def __init__(self, name: str, own: dict[str, Any], original: ModuleSpec | None, places: dict[str, str]) -> None:
        """own: the names of mtcnn_fast. original: of that package's own module; None: it is not installed.

        places: per name that mtcnn_fast lacks, the module that defines it.
        """
        super().__init__(name)
        vars(self).update(own)
        self._original, self._places = original, places
        self._loaded: ModuleType | None = None
        folders = original.submodule_search_locations if original else None
        self.__path__: list[str] = list(folders or ())
        self.__spec__ = ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        if name not in self._places:
            raise AttributeError(f"module {self.__name__!r}, here mtcnn_fast's, has no attribute {name!r}")
        if self._places[name] != self.__name__:
            return getattr(importlib.import_module(self._places[name]), name)
        if self._original is None or self._original.loader is None:
            package = self.__name__.partition(".")[0]
            raise ImportError(
                f"mtcnn_fast has no {self.__name__}.{name}, which needs {package}: {_PEERS[package].remedy}"
            )
        if self._loaded is None:
            # It keeps its name, so that its relative imports and pickles of its objects work, and stays unregistered.
            loaded = importlib.util.module_from_spec(self._original)
            self._original.loader.exec_module(loaded)
            self._loaded = loaded
        return getattr(self._loaded, name)


def install(name: str) -> ModuleType:
    """Makes `import NAME` give mtcnn_fast's interface of that package, in this process. Returns the module.

    name: "facenet_pytorch" or "mtcnn". The modules below it that users import are there as well. If the package itself
    is installed, the names that mtcnn_fast lacks, such as InceptionResnetV1, come from it; else their import raises
    ImportError. A second call does nothing.

    Raises ValueError for another name, RuntimeError if the package itself is already imported, ImportError if the
    interface needs a package that is missing.
    """
    if name not in _PEERS:
        raise ValueError(f"name is {name!r}; wanted one of {tuple(_PEERS)}")
    present = sys.modules.get(name)
    if isinstance(present, _StandIn):
        return present
    if present is not None:
        place = getattr(present, "__file__", None) or "an unknown place"
        raise RuntimeError(f"{name} is already imported, from {place}; call install before the first import of it")
    stand_ins: dict[str, _StandIn] = {}
    try:
        _register(name, _PEERS[name], stand_ins)
    except BaseException:
        for whole in stand_ins:
            del sys.modules[whole]
        raise
    return stand_ins[name]


def _register(name: str, peer: _Peer, stand_ins: dict[str, _StandIn]) -> None:
    by_interface: dict[str | None, ModuleType] = {}
    defined = {lacking: f"{name}.{below}" for below, names in peer.lacking.items() for lacking in names}
    for below, interface in peer.modules.items():
        whole = f"{name}.{below}" if below else name
        parent, _, child = whole.rpartition(".")
        original = PathFinder.find_spec(whole, stand_ins[parent].__path__) if below else importlib.util.find_spec(name)
        if interface is None and original is not None and below in peer.lacking:
            continue  # the package's own module is imported as it is
        own = importlib.import_module(interface) if interface else None
        places = {lacking: defined[lacking] for lacking in peer.lacking.get(below, () if below else peer.exported)}
        exported = {key: getattr(own, key) for key in getattr(own, "__all__", ())}
        stand_ins[whole] = by_interface[interface] = _StandIn(whole, exported, original, places)
        sys.modules[whole] = stand_ins[whole]  # where a package without __init__.py looks for its parent
        if below:
            setattr(stand_ins[parent], child, stand_ins[whole])
    for stand_in in stand_ins.values():
        for key, value in vars(stand_in).items():
            if isinstance(value, ModuleType) and value.__name__ in by_interface:
                setattr(stand_in, key, by_interface[value.__name__])
