"""The networks in PyTorch, against the engine that runs what they export."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from mtcnn_fast import MTCNN
from mtcnn_fast.weights import embedded_weights

torch = pytest.importorskip("torch")

from mtcnn_fast.train import networks as nets  # noqa: E402

SIZES = {"pnet": 12, "rnet": 24, "onet": 48}


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def channels_first(images: NDArray[np.float32]) -> Any:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))


def run(network: Any, images: NDArray[np.float32]) -> Any:
    """Probability, offsets and landmarks of (n, h, w, 3), channels last."""
    with torch.no_grad():
        face, box, landmarks = network(channels_first(images))
    outputs = (face.softmax(1)[:, 1:], box, landmarks)
    return tuple(output.movedim(1, -1).numpy() for output in outputs)


def random_networks(seed: int) -> dict[str, Any]:
    """Initialised, but with slopes and biases of any sign and size, as trained networks have."""
    made = {name: nets.network(name, seed) for name in SIZES}
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in made.values():
            for key, tensor in network.state_dict().items():
                if "prelu" in key or key.endswith("bias"):
                    tensor.uniform_(-1.3, 1.3, generator=generator)
    return made


def loaded_networks() -> dict[str, Any]:
    made = {name: nets.network(name) for name in SIZES}
    for network in made.values():
        nets.load(network, embedded_weights())
    return made


@pytest.fixture(params=["initial", "random", "embedded"])
def trained(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "initial":
        return {name: nets.network(name, 5) for name in SIZES}
    return random_networks(1) if request.param == "random" else loaded_networks()


def test_the_engine_computes_what_was_trained(trained: dict[str, Any]) -> None:
    core = MTCNN(device="cpu", weights=nets.export(trained))._core
    close = {"rtol": 1e-5, "atol": 1e-5}

    for height, width in [(12, 12), (13, 12), (14, 15), (37, 50)]:
        level = noise(height, width, 3)
        face, box, _ = run(trained["pnet"], level[None])
        probability, offsets = core.pnet(level)
        np.testing.assert_allclose(face.reshape(probability.shape), probability, **close)
        np.testing.assert_allclose(box.reshape(offsets.shape), offsets, **close)

    crops = noise(5, 24, 24, 3)
    for mine, engine in zip(run(trained["rnet"], crops)[:2], core.rnet(crops), strict=True):
        np.testing.assert_allclose(mine.reshape(engine.shape), engine, **close)

    crops = noise(5, 48, 48, 3)
    for mine, engine in zip(run(trained["onet"], crops), core.onet(crops), strict=True):
        np.testing.assert_allclose(mine.reshape(engine.shape), engine, **close)


def test_the_embedded_weights_survive_to_the_bit() -> None:
    expected = embedded_weights()
    exported = nets.export(loaded_networks())
    assert exported.keys() == expected.keys()
    for name, tensor in exported.items():
        assert tensor.dtype == np.float32
        assert tensor.tobytes() == expected[name].tobytes(), name
        assert tensor.shape == expected[name].shape


@pytest.mark.parametrize(("name", "parameters"), [("pnet", 6_962), ("rnet", 101_468), ("onet", 389_040)])
def test_size(name: str, parameters: int) -> None:
    network = nets.network(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.size == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_outputs_of_crops(name: str, n: int) -> None:
    outputs = nets.network(name)(torch.zeros(n, 3, SIZES[name], SIZES[name]))
    assert [tuple(output.shape) for output in outputs] == [(n, 2), (n, 4), (n, 10)]
    assert outputs.face is outputs[0]


def test_pnet_sees_each_cell_as_a_crop() -> None:
    network = random_networks(2)["pnet"]
    image = noise(1, 20, 31, 3)
    maps = run(network, image)
    assert [output.shape for output in maps] == [(1, 5, 11, 1), (1, 5, 11, 4), (1, 5, 11, 10)]
    # Not the last row and column, whose cells reach beyond the image.
    cells = [(row, column) for row in range(5) for column in range(10)]
    crops = np.concatenate([image[:, 2 * row : 2 * row + 12, 2 * column : 2 * column + 12] for row, column in cells])
    for output, expected in zip(run(network, crops), maps, strict=True):
        np.testing.assert_allclose(output, [expected[0, row, column] for row, column in cells], atol=1e-5)


def test_initialisation() -> None:
    for name in SIZES:
        network = nets.network(name, 3)
        for key, tensor in network.state_dict().items():
            values = tensor.numpy()
            if "prelu" in key:
                assert (values == 0.25).all()
            elif key.endswith("bias"):
                assert (values == 0).all()
            else:
                field = math.prod(values.shape[2:])
                bound = math.sqrt(6 / (field * (values.shape[0] + values.shape[1])))
                assert np.abs(values).max() <= bound
                assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.3)


def test_initialisation_depends_on_the_seed_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (nets.network("rnet", seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for key, tensor in one.items():
        assert torch.equal(tensor, same[key])
    assert not torch.equal(one["trunk.conv1.weight"], other["trunk.conv1.weight"])


def test_every_parameter_is_trained() -> None:
    for name, network in random_networks(4).items():
        outputs = network(channels_first(noise(4, SIZES[name], SIZES[name], 3)))
        sum(output.square().sum() for output in outputs).backward()
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, (name, key)
            assert parameter.grad.abs().sum() > 0, (name, key)


def test_normalised() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8)
    expected = torch.tensor([-127.5, -0.5, 127.5]) / 128
    assert torch.equal(nets.normalise(pixels), expected)
    pixels = pixels.double()
    assert torch.equal(nets.normalise(pixels), expected)
    assert pixels.tolist() == [0, 127, 255]
    for unchanged in (pixels.float(), torch.ones(2, 3)):
        before = unchanged.clone()
        nets.normalise(unchanged)
        assert torch.equal(unchanged, before)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pnet", (1, 3, 11, 40)),
        ("pnet", (1, 12, 12, 3)),
        ("pnet", (3, 12, 12)),
        ("rnet", (1, 3, 25, 24)),
        ("rnet", (1, 1, 24, 24)),
        ("onet", (2, 3, 24, 24)),
        ("onet", (2, 3)),
    ],
)
def test_crops_of_other_shapes(name: str, shape: tuple[int, ...]) -> None:
    size = SIZES[name]
    with pytest.raises(ValueError, match=rf"{name} have shape .*wanted \(n, 3, {size}, {size}\)"):
        nets.network(name)(torch.zeros(shape))


def test_crops_that_are_not_normalised() -> None:
    with pytest.raises(TypeError, match=r"torch\.uint8.*normalise"):
        nets.network("pnet")(torch.zeros(1, 3, 12, 12, dtype=torch.uint8))


@pytest.mark.parametrize(("name", "error"), [("qnet", ValueError), ("PNet", ValueError), (12, TypeError)])
def test_networks_that_are_not(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"network|string"):
        nets.network(name)


def test_a_landmark_head_that_is_missing_stays() -> None:
    network = nets.network("pnet", 7)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    nets.load(network, "2016")
    after = network.state_dict()
    for key in before:
        assert torch.equal(before[key], after[key]) == ("landmarks" in key), key


def test_a_landmark_head_that_is_there_is_taken() -> None:
    head = {"pnet.landmarks.weight": noise(10, 32, 1, 1), "pnet.landmarks.bias": noise(10)}
    network = nets.network("pnet")
    nets.load(network, embedded_weights() | head)
    np.testing.assert_array_equal(network.state_dict()["heads.landmarks.bias"].numpy(), head["pnet.landmarks.bias"])
    assert not head.keys() & nets.export({"pnet": network}).keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rnet.conv2.bias": None}, "lack tensor rnet.conv2.bias"),
        ({"rnet.conv9.bias": noise(3)}, "unknown tensor rnet.conv9.bias"),
        ({"rnet.landmarks.bias": noise(10)}, "lack tensor rnet.landmarks.weight"),
        ({"rnet.fc.bias": noise(127)}, r"rnet.fc.bias has shape \(127,\); wanted \(128,\)"),
        ({"rnet.fc.bias": np.full(128, np.inf, np.float32)}, "rnet.fc.bias has values that are not finite"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(change: dict[str, Any], message: str) -> None:
    tensors = {name: array for name, array in (embedded_weights() | change).items() if array is not None}
    network = nets.network("rnet")
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        nets.load(network, tensors)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_weights_of_other_types() -> None:
    network = nets.network("rnet")
    with pytest.raises(TypeError, match="float32"):
        nets.load(network, {"rnet.fc.bias": np.zeros(128)})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="lack"):
        nets.load(network, {})
    with pytest.raises(OSError, match="missing"):
        nets.load(network, "missing.safetensors")


def test_export_copies() -> None:
    network = nets.network("pnet")
    exported = nets.export({"pnet": network})
    with torch.no_grad():
        network.trunk.conv1.bias.add_(1)
    assert (exported["pnet.conv1.bias"] == 0).all()
    exported["pnet.conv1.bias"] += 5
    assert (network.trunk.conv1.bias == 1).all()


def test_exported_arrays_lie_in_their_order() -> None:
    network = nets.network("pnet").to(memory_format=torch.channels_last)
    assert not network.trunk.conv2.weight.is_contiguous()
    assert all(array.flags.c_contiguous for array in nets.export({"pnet": network}).values())


def test_networks_that_cannot_be_exported() -> None:
    with pytest.raises(TypeError, match=r"networks\['rnet'\] is a PNet"):
        nets.export({"rnet": nets.network("pnet")})
    with pytest.raises(TypeError, match="Linear"):
        nets.export({"pnet": torch.nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"pnet.conv1.weight is torch\.float64"):
        nets.export({"pnet": nets.network("pnet").double()})
    diverged = nets.network("onet")
    with torch.no_grad():
        diverged.heads["box"].bias[2] = torch.nan
    with pytest.raises(ValueError, match=r"onet.box.bias .*not finite"):
        nets.export({"onet": diverged})


def test_weight_files(tmp_path: Path) -> None:
    path = tmp_path / "trained.safetensors"
    made = random_networks(6)
    nets.save(path, nets.export(made), {"trained": "by a test"})
    assert list(tmp_path.iterdir()) == [path]
    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"trained": "by a test"}
    MTCNN(device="cpu", weights=path)
    read = nets.network("onet")
    nets.load(read, path)
    for key, tensor in read.state_dict().items():
        assert torch.equal(tensor, made["onet"].state_dict()[key])
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_weight_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trained.safetensors"
    nets.save(path, {"a": noise(3)})
    before = path.read_bytes()
    other_name = tmp_path / "other"
    os.link(path, other_name)
    nets.save(path, {"a": noise(3, seed=1)})
    assert other_name.read_bytes() == before, "written into the old file, not beside it"
    other_name.unlink()
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        nets.save(path, {"a": noise(4)})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ([noise(3)], {}),
        ({"a": np.zeros(3)}, {}),
        ({"a": [1.0]}, {}),
        ({"a": noise(3)}, {"epochs": 3}),
        ({"a": noise(3)}, {3: "epochs"}),
    ],
)
def test_what_no_weight_file_can_hold(tmp_path: Path, tensors: Any, metadata: Any) -> None:
    with pytest.raises(TypeError, match="wanted"):
        nets.save(tmp_path / "x.safetensors", tensors, metadata)
    assert list(tmp_path.iterdir()) == []
