"""The three networks on general inference engines, without a cascade around them: lower bounds of any cascade there.

A contestant of this kind runs P-Net on levels of the same sizes, and R-Net and O-Net on as many crops, as `mtcnn_fast`
does for the same image (`Work`). It does nothing else: inputs are ready, and nothing is resized, cropped, decoded or
suppressed. The models are made here from the embedded weights, and checked against `mtcnn_fast.ops`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from work import Work

Array = NDArray[np.float32]
Tensors = dict[str, Array]
# A function from normalised inputs (n, channels, height, width) to a network's raw outputs, in the order of its heads.
Network = Callable[[Array], list[Array]]

WEIGHTS = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
# Crops that an engine with batches takes at a time. This number hardly changes the speed, but it changes the memory.
BATCH = 64
CROP = {"rnet": 24, "onet": 48}


class Layer(NamedTuple):
    """A convolution or a dense layer with its PReLU, and a max pooling of stride 2 (ceil mode) unless `pool` is 0."""

    name: str
    prelu: str
    pool: int = 0


@dataclass(frozen=True)
class Description:
    layers: tuple[Layer, ...]
    heads: tuple[str, ...]


NETWORKS = {
    "pnet": Description(
        (Layer("conv1", "prelu1", 2), Layer("conv2", "prelu2"), Layer("conv3", "prelu3")),
        ("face", "box"),
    ),
    "rnet": Description(
        (
            Layer("conv1", "prelu1", 3),
            Layer("conv2", "prelu2", 3),
            Layer("conv3", "prelu3"),
            Layer("fc", "prelu4"),
        ),
        ("face", "box"),
    ),
    "onet": Description(
        (
            Layer("conv1", "prelu1", 3),
            Layer("conv2", "prelu2", 3),
            Layer("conv3", "prelu3", 2),
            Layer("conv4", "prelu4"),
            Layer("fc", "prelu5"),
        ),
        ("face", "box", "landmarks"),
    ),
}


def load_tensors() -> Tensors:
    from safetensors.numpy import load_file

    return load_file(WEIGHTS)


# --- ncnn ------------------------------------------------------------------------------------------------------------


class _NcnnWriter:
    """Writes a network in ncnn's format: the text of .param, and the bytes of .bin."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.lines = ["Input data 0 1 data"]
        self.blobs = ["data"]
        self.content = b""

    def layer(self, kind: str, source: str, name: str, parameters: str) -> str:
        self.lines.append(f"{kind} {name} 1 1 {source} {name} {parameters}")
        self.blobs.append(name)
        return name

    def weighted(self, source: str, name: str, prefix: str) -> str:
        """A convolution or dense layer; weights are preceded by a tag of 0, for float32."""
        weight, bias = self.tensors[f"{prefix}.{name}.weight"], self.tensors[f"{prefix}.{name}.bias"]
        self.content += bytes(4) + weight.astype("<f4").tobytes() + bias.astype("<f4").tobytes()
        if weight.ndim == 4:
            return self.layer("Convolution", source, name, f"0={len(weight)} 1={weight.shape[2]} 5=1 6={weight.size}")
        return self.layer("InnerProduct", source, name, f"0={len(weight)} 1=1 2={weight.size}")

    def network(self, prefix: str) -> None:
        x = "data"
        for layer in NETWORKS[prefix].layers:
            x = self.weighted(x, layer.name, prefix)
            slopes = self.tensors[f"{prefix}.{layer.prelu}.weight"]
            x = self.layer("PReLU", x, layer.prelu, f"0={slopes.size}")
            self.content += slopes.astype("<f4").tobytes()
            if layer.pool:
                x = self.layer("Pooling", x, f"pool_{layer.name}", f"0=0 1={layer.pool} 2=2 5=0")
        heads = NETWORKS[prefix].heads
        inputs = [f"to_{head}" for head in heads]
        self.lines.append(f"Split split 1 {len(heads)} {x} {' '.join(inputs)}")
        self.blobs += inputs
        for head, source in zip(heads, inputs, strict=True):
            self.weighted(source, head, prefix)

    def param(self) -> str:
        return "\n".join(["7767517", f"{len(self.lines)} {len(self.blobs)}", *self.lines]) + "\n"


def ncnn_engine(threads: int) -> Callable[[str], Network]:
    """ncnn in fp32. It runs one input at a time, because ncnn has no batches.

    The threads share P-Net's layers, and do not share crops: see `networks_only`.
    """
    import ncnn

    tensors = load_tensors()

    def make(prefix: str) -> Network:
        writer = _NcnnWriter(tensors)
        writer.network(prefix)
        net = ncnn.Net()
        net.opt.num_threads = threads if prefix == "pnet" else 1
        for option in vars(type(net.opt)):
            if option.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
                setattr(net.opt, option, False)
        with tempfile.TemporaryDirectory() as folder:
            param, content = Path(folder) / "net.param", Path(folder) / "net.bin"
            param.write_text(writer.param())
            content.write_bytes(writer.content)
            if net.load_param(str(param)) or net.load_model(str(content)):
                raise RuntimeError(f"ncnn does not load {prefix}")
        heads = NETWORKS[prefix].heads

        def run(inputs: Array) -> list[Array]:
            outputs: list[list[Any]] = [[] for _ in heads]
            for image in inputs:
                extractor = net.create_extractor()
                extractor.input("data", ncnn.Mat(image))
                for head, kept in zip(heads, outputs, strict=True):
                    kept.append(extractor.extract(head)[1])
            return [np.array(kept) for kept in outputs]

        return run

    return make


# --- OpenVINO --------------------------------------------------------------------------------------------------------


def _openvino_model(prefix: str, tensors: Tensors, shape: tuple[int, ...]) -> Any:
    import openvino
    from openvino import opset13 as op

    def weighted(x: Any, name: str) -> Any:
        weight, bias = tensors[f"{prefix}.{name}.weight"], tensors[f"{prefix}.{name}.bias"]
        if weight.ndim == 4:
            product = op.convolution(x, op.constant(weight), [1, 1], [0, 0], [0, 0], [1, 1])
        else:
            if len(x.get_output_partial_shape(0)) == 4:
                x = op.reshape(x, op.constant(np.array([0, -1])), special_zero=True)
            product = op.matmul(x, op.constant(weight), transpose_a=False, transpose_b=True)
        return op.add(product, op.constant(bias.reshape(1, -1, *[1] * (weight.ndim - 2))))

    image = op.parameter(list(shape), np.float32)
    x = image
    for layer in NETWORKS[prefix].layers:
        x = op.prelu(weighted(x, layer.name), op.constant(tensors[f"{prefix}.{layer.prelu}.weight"]))
        if layer.pool:
            kernel = [layer.pool, layer.pool]
            x = op.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], kernel, "ceil").output(0)
    return openvino.Model([weighted(x, head) for head in NETWORKS[prefix].heads], [image], prefix)


def openvino_engine(threads: int, precision: str = "f32") -> Callable[[str], Network]:
    """OpenVINO, with a model compiled for the shape of each input. precision: OpenVINO's hint, "f32" or "bf16"."""
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
    }
    tensors = load_tensors()

    def make(prefix: str) -> Network:
        requests: dict[tuple[int, ...], Any] = {}

        def request(shape: tuple[int, ...]) -> Any:
            if shape not in requests:
                model = core.compile_model(_openvino_model(prefix, tensors, shape), "CPU", settings)
                requests[shape] = model.create_infer_request()
            return requests[shape]

        def run(inputs: Array) -> list[Array]:
            outputs = []
            for i in range(0, len(inputs), BATCH):
                part = inputs[i : i + BATCH]
                found = request(part.shape)
                found.set_input_tensor(openvino.Tensor(part, shared_memory=True))
                found.infer()
                outputs.append([found.get_output_tensor(k).data for k in range(len(NETWORKS[prefix].heads))])
            return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]

        return run

    return make


def openvino_lacks_bf16() -> str | None:
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return None if "BF16" in capabilities else "OpenVINO has no bfloat16 on this processor"


# --- The work of an image --------------------------------------------------------------------------------------------


def _check(networks: dict[str, Network], tolerance: float) -> None:
    """Compares face probabilities and offsets with `mtcnn_fast.ops` on noise."""
    from mtcnn_fast import ops

    random = np.random.default_rng(1)
    level = random.uniform(-1, 1, (61, 48, 3)).astype(np.float32)
    expected = {"pnet": ops.pnet(level)}
    inputs = {"pnet": level[None]}
    for name, side in CROP.items():
        inputs[name] = random.uniform(-1, 1, (5, side, side, 3)).astype(np.float32)
        expected[name] = getattr(ops, name)(inputs[name])
    for name, network in networks.items():
        face, *others = network(np.ascontiguousarray(inputs[name].transpose(0, 3, 1, 2)))
        probability = 1 / (1 + np.exp(face[:, 0] - face[:, 1]))
        found = [probability, *others]
        if name == "pnet":
            found = [found[0][0], found[1][0].transpose(1, 2, 0)]
        for mine, wanted in zip(found, expected[name], strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=0, atol=tolerance, err_msg=name)


def networks_only(
    engine: Callable[[str], Network], work: Work, shares: int = 1, tolerance: float = 1e-4
) -> Callable[[], None]:
    """A function that runs the networks over one image's levels and crops.

    Their pixels are noise, because the time does not depend on pixels. shares: with an engine without batches, threads
    would each take a share of the crops, but its Python interface does not run them at the same time. So it runs one
    of `shares` equal shares, as if the others took no longer. tolerance: the greatest difference between its outputs
    and mtcnn_fast's that is no error.
    """
    networks = {name: engine(name) for name in NETWORKS}
    _check(networks, tolerance)
    random = np.random.default_rng(0)

    def noise(*shape: int) -> Array:
        return random.uniform(-1, 1, shape).astype(np.float32)

    inputs = [(networks["pnet"], noise(1, 3, height, width)) for height, width in work.levels]
    for name, count in (("rnet", work.rnet), ("onet", work.onet)):
        if count:
            inputs.append((networks[name], noise(-(-count // shares), 3, CROP[name], CROP[name])))

    def run() -> None:
        for network, values in inputs:
            network(values)

    return run
