"""Derives bounds on the difference of P-Net's, R-Net's and O-Net's face logits between bfloat16 or fp16 and float32.

The screen is the pass in that format that comes first: bfloat16 on the CPU, fp16 on a GPU. It drops a window whose
logit is below the threshold by more than a margin. The derivation of that margin: each weight, input and map value is
rounded once, by up to half a unit in its last place, h_i. To first order the logit moves by the sum of c_i e_i, |e_i|
<= 1, where c_i = h_i d logit / d value_i. Assume that the e_i are independent and uniform. (That is the model of Higham
& Mary, "A New Approach to Probabilistic Rounding Error Analysis", SIAM J. Sci. Comput. 41(5), 2019, with the
distribution that rounding has.) Then the sum is sub-Gaussian with a variance proxy of sum c_i^2 / 3, and the chance
that it exceeds t is at most 2 exp(-t^2 / (2 sum c_i^2 / 3)). The margin is the t at which that chance is 1e-15, for the
window of the largest sum of squares. Beside it stands the greatest difference measured with the networks in that
format. The margin must be at least twice that difference.

    python tools/derive_margins.py --format fp16 PHOTO ...

Needs torch. The windows are those that the definition of the cascade (tests/reference.py) looks at, and random ones.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn.functional import conv2d, linear, max_pool2d

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import reference  # noqa: E402

CHANCE = 1e-15
RANGE = (0.5, 0.9)  # thresholds that the margins are for
Tensors = dict[str, torch.Tensor]
# Layers of each network: name, PReLU, and size of the max-pooling that follows (0: none).
LAYERS = {
    "pnet": [("conv1", "prelu1", 2), ("conv2", "prelu2", 0), ("conv3", "prelu3", 0)],
    "rnet": [("conv1", "prelu1", 3), ("conv2", "prelu2", 3), ("conv3", "prelu3", 0), ("fc", "prelu4", 0)],
    "onet": [
        ("conv1", "prelu1", 3),
        ("conv2", "prelu2", 3),
        ("conv3", "prelu3", 2),
        ("conv4", "prelu4", 0),
        ("fc", "prelu5", 0),
    ],
}


def rounded_tensors(net: str, weights: Tensors) -> Tensors:
    """The weights that are rounded: those of the layers, and the difference of the two face logits' weights."""
    tensors = {name: weights[f"{net}.{name}.weight"] for name, _, _ in LAYERS[net]}
    face = weights[f"{net}.face.weight"]
    tensors["face"] = (face[1] - face[0]).reshape(1, -1)
    return tensors


def logit(net: str, weights: Tensors, rounded: Tensors, crop: torch.Tensor, change) -> torch.Tensor:
    """The face logit of one crop (3, side, side). It calls change(name, value) wherever a value is rounded."""
    x = change("input", crop)[None]
    for name, slope, pool in LAYERS[net]:
        weight, bias = change(f"weight {name}", rounded[name]), weights[f"{net}.{name}.bias"]
        x = linear(x.reshape(1, -1), weight, bias) if weight.dim() == 2 else conv2d(x, weight, bias)
        a = weights[f"{net}.{slope}.weight"].reshape(1, -1, *[1] * (x.dim() - 2))
        x = torch.where(x > 0, x, a * x)
        if pool:
            x = max_pool2d(x, pool, 2, ceil_mode=True)
        x = change(name, x)
    bias = weights[f"{net}.face.bias"]
    return linear(x.reshape(1, -1), change("weight face", rounded["face"]), (bias[1] - bias[0]).reshape(1)).squeeze()


@dataclass(frozen=True)
class Format:
    """A format that values are rounded to. bits: of its significand. least: the exponent of its least normal number."""

    dtype: torch.dtype
    bits: int
    least: int

    def rounded(self, _: str, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.dtype).to(value.dtype)

    def half_ulp(self, value: torch.Tensor) -> torch.Tensor:
        """Half a unit in the last place. Below the normal numbers, the unit is that of the least of them."""
        exponent = torch.floor(torch.log2(value.abs())).clamp(min=self.least)
        return torch.where(value == 0, 0.0, torch.exp2(exponent - self.bits))


FORMATS = {"bf16": Format(torch.bfloat16, 8, -126), "fp16": Format(torch.float16, 11, -14)}


def shapes(net: str, weights: Tensors, rounded: Tensors, crop: torch.Tensor) -> dict[str, torch.Size]:
    seen: dict[str, torch.Size] = {}

    def note(name: str, value: torch.Tensor) -> torch.Tensor:
        seen[name] = value.shape
        return value

    logit(net, weights, rounded, crop, note)
    return seen


def study(net: str, weights: Tensors, crops: np.ndarray, low_format: Format) -> None:
    rounded = rounded_tensors(net, weights)
    inputs = torch.tensor(crops.transpose(0, 3, 1, 2), dtype=torch.float32)
    zeros = {name: torch.zeros(shape) for name, shape in shapes(net, weights, rounded, inputs[0]).items()}
    exact = torch.func.vmap(lambda crop: logit(net, weights, rounded, crop, lambda _, value: value))
    low = torch.func.vmap(lambda crop: logit(net, weights, rounded, crop, low_format.rounded))

    def moved(steps: Tensors, crop: torch.Tensor) -> tuple[torch.Tensor, Tensors]:
        values: Tensors = {}

        def note(name: str, value: torch.Tensor) -> torch.Tensor:
            values[name] = value
            return value + steps[name]

        return logit(net, weights, rounded, crop, note), values

    sensitivity = torch.func.vmap(torch.func.grad(moved, has_aux=True), in_dims=(None, 0))
    logits, bounds, differences = [], [], []
    for batch in inputs.split(32 if net == "onet" else 128):
        gradients, values = sensitivity(zeros, batch)
        moves = ((low_format.half_ulp(values[name]) * g).square().flatten(1).sum(1) for name, g in gradients.items())
        squares = sum(moves) / 3
        logits.append(exact(batch))
        bounds.append((2 * math.log(2 / CHANCE) * squares).sqrt())
        differences.append((low(batch) - logits[-1]).abs())
    value, bound, difference = (torch.cat(part).numpy() for part in (logits, bounds, differences))
    # A window that passes the highest threshold of RANGE needs a smaller margin, by as much as it is above.
    lowest, highest = (math.log(p / (1 - p)) for p in RANGE)
    needed = (bound - np.maximum(0, value - highest))[value >= lowest]
    print(
        f"{net}: {len(value)} windows, {len(needed)} of them above the least threshold: margin {needed.max():.2f}, "
        f"greatest difference {difference[value >= lowest].max():.3f} (of all windows {difference.max():.3f})"
    )
    for low_end, high_end in itertools.pairwise((-np.inf, -8, -4, -2, -1, 0, 1, 2, 4, 8, np.inf)):
        part = (value >= low_end) & (value < high_end)
        if part.any():
            print(
                f"  logit {low_end:g} .. {high_end:g}: {part.sum()} windows, bound {bound[part].max():.2f}, "
                f"greatest difference {difference[part].max():.3f}",
                flush=True,
            )


def windows(photo: Path, random: np.random.Generator, per_level: int) -> dict[str, list[np.ndarray]]:
    """The networks' windows in one photograph: P-Net's most face-like and random cells, R-Net's and O-Net's crops."""
    image = cv2.cvtColor(cv2.imread(str(photo), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    conventions = reference.CONVENTIONS["reference"]
    plan = reference.levels(image.shape[0], image.shape[1], 20, 0.709, None, "reference")
    found: dict[str, list[np.ndarray]] = {"pnet": [], "rnet": [], "onet": []}
    for _, height, width in plan:
        level = reference.normalise(reference.resize(image, (height, width), "reference"))
        logits, _ = reference.pnet(level)
        flat = (
            np.argsort(-logits, axis=None)[:per_level].tolist() + random.integers(logits.size, size=per_level).tolist()
        )
        for place in flat:
            row, column = (2 * int(i) for i in np.unravel_index(place, logits.shape))
            patch = np.zeros((12, 12, 3))
            there = level[row : row + 12, column : column + 12]
            if there.shape == patch.shape:
                found["pnet"].append(there)
    candidates, _ = reference.propose(image, plan, 0.4, 0.5, "reference", [])
    kept = candidates[reference.suppress(candidates, 0.7, "union", "pnet", conventions, [])]
    kept, crops = reference.squares(kept, 0, "pnet", conventions, [], image)
    found["rnet"] = list(reference.cut(image, crops, 24, conventions))
    if len(crops):
        logits, kept.offsets = reference.rnet(np.array(found["rnet"]))
        kept, crops = reference.squares(kept[logits > -1], 1, "rnet", conventions, [], image)
        found["onet"] = list(reference.cut(image, crops, 48, conventions))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="bf16", help="of the screen (default bf16)")
    parser.add_argument("--cells", type=int, default=20, help="P-Net cells of each kind per level (default 20)")
    parser.add_argument("--most", type=int, default=20000, help="most windows per network (default 20000)")
    args = parser.parse_args()
    random = np.random.default_rng(1)
    weights = {k: v.float() for k, v in load_file(ROOT / "src" / "weights" / "mtcnn.safetensors").items()}
    parts = [windows(photo, random, args.cells) for photo in args.photos]
    for net in LAYERS:
        crops = list(itertools.chain.from_iterable(part[net] for part in parts))
        study(net, weights, np.array(crops[:: -(-len(crops) // args.most)]), FORMATS[args.format])


if __name__ == "__main__":
    main()
