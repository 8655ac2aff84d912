"""The three networks of the cascade in PyTorch, with the heads that training needs, and their weight files.

Layers and names are those of docs/weights.md. All three tasks train in every network (Zhang et al. 2016, section
III.B), but the detector reads landmarks from O-Net only: those heads of P-Net and R-Net are never exported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save as serialised
from torch import Tensor, nn

from mtcnn_fast.checks import described, integer, text
from mtcnn_fast.weights import Weights, embedded_weights, load_weights
from mtcnn_fast.writing import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Conv(NamedTuple):
    """A convolution of stride 1 without padding, and its PReLU."""

    channels: int
    kernel: int


class Pool(NamedTuple):
    """Max pooling of stride 2, in ceil mode like Caffe's."""

    kernel: int


class Dense(NamedTuple):
    """A dense layer, and its PReLU. Its input is the map, flattened as (channel, row, column)."""

    units: int


class Outputs(NamedTuple):
    """The output for each crop, or for each cell, (n, ..., h, w), where P-Net is given larger images."""

    face: Tensor
    """(n, 2): logits of not a face, face."""
    box: Tensor
    """(n, 4): offsets of x1, y1, x2, y2 in units of the window's width and height."""
    landmarks: Tensor
    """(n, 10): x1 to x5, y1 to y5 from the window's corner in the same units, in the order of `LANDMARKS`."""


_HEADS = {"face": 2, "box": 4, "landmarks": 10}
_PRELU_SLOPE = 0.25


class Network(nn.Module):
    """A trunk of layers and three heads. `forward` takes normalised crops, float (n, 3, size, size)."""

    name: ClassVar[str]
    size: ClassVar[int]
    """Side of the crops in pixels."""
    layers: ClassVar[tuple[Conv | Pool | Dense, ...]]
    exports_landmarks: ClassVar[bool] = False

    def __init__(self, seed: int = 0) -> None:
        """Weights by Xavier's uniform distribution from `seed`, biases 0, slopes of PReLU 0.25."""
        super().__init__()
        # On the meta device, which has no memory: elsewhere layers draw numbers from PyTorch's global generator.
        with torch.device("meta"):
            self.trunk, features = _trunk(self.size, self.layers)
            self.heads = nn.ModuleDict(
                {
                    head: nn.Conv2d(features, outputs, 1) if self.is_convolutional else nn.Linear(features, outputs)
                    for head, outputs in _HEADS.items()
                }
            )
        self.to_empty(device="cpu")
        generator = torch.Generator().manual_seed(integer("seed", seed))
        for module in self.modules():
            if isinstance(module, nn.PReLU):
                nn.init.constant_(module.weight, _PRELU_SLOPE)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @property
    def is_convolutional(self) -> bool:
        """True if images larger than `size` give maps of outputs."""
        return not any(isinstance(layer, Dense) for layer in self.layers)

    def forward(self, crops: Tensor) -> Outputs:
        """Outputs for crops (n, 3, size, size); P-Net also takes larger ones. Raises ValueError for other shapes."""
        self._check(crops)
        features = self.trunk(crops)
        outputs = [head(features) for head in self.heads.values()]
        if crops.shape[2:] == (self.size, self.size):
            outputs = [output.flatten(1) for output in outputs]
        return Outputs(*outputs)

    def _check(self, crops: Tensor) -> None:
        sides = crops.shape[2:]
        fits = min(sides, default=0) >= self.size if self.is_convolutional else sides == (self.size, self.size)
        if crops.ndim != 4 or crops.shape[1] != 3 or not fits:
            least = " or larger" if self.is_convolutional else ""
            wanted = f"(n, 3, {self.size}, {self.size}){least}"
            raise ValueError(f"crops for {self.name} have shape {tuple(crops.shape)}; wanted {wanted}")
        if not crops.is_floating_point():
            raise TypeError(f"crops for {self.name} are {crops.dtype}; wanted floats, as normalise() gives them")


class PNet(Network):
    """The proposal network. It is fully convolutional: one output per cell of 12 x 12, 2 pixels apart."""

    name = "pnet"
    size = 12
    layers = (Conv(10, 3), Pool(2), Conv(16, 3), Conv(32, 3))


class RNet(Network):
    """The refinement network."""

    name = "rnet"
    size = 24
    layers = (Conv(28, 3), Pool(3), Conv(48, 3), Pool(3), Conv(64, 2), Dense(128))


class ONet(Network):
    """The output network."""

    name = "onet"
    size = 48
    layers = (Conv(32, 3), Pool(3), Conv(64, 3), Pool(3), Conv(64, 3), Pool(2), Conv(128, 2), Dense(256))
    exports_landmarks = True


NETWORK_CLASSES: dict[str, type[Network]] = {kind.name: kind for kind in (PNet, RNet, ONet)}


def network(name: str, seed: int = 0) -> Network:
    """A new "pnet", "rnet" or "onet", initialised from `seed`. Raises ValueError for another name."""
    if text("name", name) not in NETWORK_CLASSES:
        raise ValueError(f"there is no network {name!r}; there are {', '.join(NETWORK_CLASSES)}")
    return NETWORK_CLASSES[name](seed)


def normalise(pixels: Tensor) -> Tensor:
    """Network input from pixel values 0 to 255 of any type: (x - 127.5) / 128, float32."""
    return pixels.to(torch.float32).sub(127.5).div_(128)


def load(network: Network, weights: str | os.PathLike[str] | Mapping[str, NDArray[np.float32]]) -> None:
    """Sets a network's weights from a weight file or a mapping of its names, which may hold other networks too, or from
    the embedded networks: "2016".

    A landmark head that the file lacks stays as it is: files for the detector have none for P-Net and R-Net. Raises
    ValueError, and changes nothing, for a tensor that is missing, unknown, of another shape or not finite.
    """
    prefix = f"{network.name}."
    tensors = load_weights(weights)
    tensors = embedded_weights() if tensors is None else tensors
    arrays = {name: array for name, array in tensors.items() if name.startswith(prefix)}
    own = _tensors(network)
    head = {name for name in own if name.startswith(f"{prefix}landmarks.")}
    wanted = own.keys() if head & arrays.keys() else own.keys() - head
    for name in sorted(wanted ^ arrays.keys()):
        raise ValueError(f"the weights {'lack' if name in wanted else 'have an unknown'} tensor {name}")
    for name, array in arrays.items():
        if array.shape != tuple(own[name].shape):
            raise ValueError(f"tensor {name} has shape {array.shape}; wanted {tuple(own[name].shape)}")
        _check_finite(name, array)
    with torch.no_grad():
        for name, array in arrays.items():
            own[name].copy_(torch.from_numpy(array))


def export(networks: Mapping[str, nn.Module]) -> Weights:
    """Copies of the tensors that the detector reads, by their names in a weight file. networks: by their names.

    The detector needs all three networks; `{**others, **export(...)}` replaces some. Raises ValueError for weights
    that are not float32 or not finite.
    """
    tensors: Weights = {}
    for key, module in networks.items():
        if not isinstance(module, Network) or key != module.name:
            raise TypeError(f"networks[{key!r}] is a {type(module).__name__}; wanted the network of that name")
        for name, tensor in _tensors(module).items():
            if name.startswith(f"{key}.landmarks.") and not module.exports_landmarks:
                continue
            if tensor.dtype != torch.float32:
                raise ValueError(f"tensor {name} is {tensor.dtype}; wanted torch.float32")
            # Training keeps channels last; safetensors writes an array's memory as it lies.
            tensors[name] = np.array(tensor.cpu().numpy(), order="C")
            _check_finite(name, tensors[name])
    return tensors


def save(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[np.float32]], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a weight file whole or not at all. metadata: strings for its header, such as the settings of training."""
    header = {
        text("a key of metadata", key): text(f"metadata[{key!r}]", value) for key, value in (metadata or {}).items()
    }
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors is {described(tensors)}; wanted a mapping from names to arrays")
    write_whole(path, serialised(load_weights(tensors) or {}, header))


def _trunk(side: int, layers: tuple[Conv | Pool | Dense, ...]) -> tuple[nn.Sequential, int]:
    """The layers for square crops, named as in weight files, and the channels or units of the last layer."""
    trunk = nn.Sequential()
    convolutions = activations = 0
    features = 3
    for layer in layers:
        if isinstance(layer, Pool):
            trunk.add_module(f"pool{convolutions}", nn.MaxPool2d(layer.kernel, stride=2, ceil_mode=True))
            side = -(-(side - layer.kernel) // 2) + 1
            continue
        if isinstance(layer, Conv):
            convolutions += 1
            trunk.add_module(f"conv{convolutions}", nn.Conv2d(features, layer.channels, layer.kernel))
            side -= layer.kernel - 1
            features = layer.channels
        else:
            trunk.add_module("flatten", nn.Flatten())
            trunk.add_module("fc", nn.Linear(features * side * side, layer.units))
            features = layer.units
        activations += 1
        trunk.add_module(f"prelu{activations}", nn.PReLU(features))
    return trunk, features


def _tensors(network: Network) -> dict[str, Tensor]:
    """The tensors of a network by their names in a weight file: those of state_dict without `trunk.` and `heads.`."""
    return {f"{network.name}.{key.partition('.')[2]}": tensor for key, tensor in network.state_dict().items()}


def _check_finite(name: str, array: NDArray[np.float32]) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"tensor {name} has values that are not finite")
