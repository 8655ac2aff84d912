"""What a training run is made of: a TOML file, checked before anything starts."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from mtcnn_fast.annotations import FORMATS
from mtcnn_fast.train.augment import Augmentation
from mtcnn_fast.train.losses import TASK_WEIGHTS, TaskWeights
from mtcnn_fast.train.mining import MINING_RECIPE, Limits
from mtcnn_fast.train.windows import Recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _beside(path: Path, info: ValidationInfo) -> Path:
    """Paths in a configuration file start at its folder."""
    return Path(info.context["folder"] if info.context else ".") / path


def _only(kind: type[Any]) -> BeforeValidator:
    """Refuses a table with what the dataclass does not have, which pydantic would pass over."""
    names = [field.name for field in fields(kind)]

    def check(table: Any) -> Any:
        for name in table if isinstance(table, dict) else ():
            if name not in names:
                raise ValueError(f"there is no {name}; there are {', '.join(names)}")
        return table

    return BeforeValidator(check)


_File = Annotated[Path, AfterValidator(_beside)]
_Share = Annotated[float, Field(gt=0, le=1)]
_Probability = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Table):
    """Annotated pictures."""

    annotations: _File
    """As `annotations.read` takes it, and the three after it."""
    format: Literal[FORMATS] | None = None  # type: ignore[valid-type]  # the list stands once, in annotations
    images: _File | None = None
    only: _File | None = None
    complete: bool = True
    """Whether every face is labelled: only then is what is not labelled background."""
    expand: tuple[float, float, float, float] = (0, 0, 0, 0)
    """Shares of a box's width or height by which its left, top, right and bottom side move outward."""


class Mining(_Table):
    """The cascade that finds samples for R-Net and O-Net. Its thresholds are lower than those of a detector in use:
    what it misses cannot be learned, and what it takes for a face is what is to be learned."""

    min_face_size: Annotated[float, Field(ge=4)] = 20
    scale_factor: Annotated[float, Field(gt=0, le=0.99)] = 0.709
    thresholds: tuple[_Probability, _Probability] = (0.4, 0.2)
    """Of P-Net and R-Net."""
    limits: Annotated[Limits, _only(Limits)] = Limits()


class Training(_Table):
    """How one network is trained."""

    epochs: _Count = 16
    batches: _Count = 2000
    """In an epoch."""
    batch_size: _Count = 448
    mix: tuple[_NotNegative, _NotNegative, _NotNegative, _NotNegative] = (3, 1, 1, 2)
    """Shares of negatives, positives, parts and landmark samples in a batch."""
    hard_share: _Share = 0.7
    """Online hard sample mining: the share of a batch, hardest first, whose face loss counts; 1 turns it off."""
    task_weights: TaskWeights
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: _Positive = 0.01
    momentum: _Probability = 0.9
    """Of SGD; Adam's first."""
    weight_decay: _NotNegative = 1e-5
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: tuple[_Share, ...] = (0.5, 0.87)
    """Shares of the run after which steps multiply the learning rate by `decay`."""
    decay: _Share = 0.1
    warmup: _NotNegative = 1
    """Epochs in which the learning rate rises from 0."""
    patience: _Count | None = None
    """Stop after so many epochs without a better recall; none: never."""
    mixed_precision: Literal["auto", "bf16", "off"] = "auto"
    """Compute in bfloat16; "auto": where a GPU has it. (On a CPU with AMX, O-Net alone gains: 1.4 times.)"""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the pictures whose samples are not learned but measured after each epoch."""
    false_positives: _Positive
    """A whole picture, at which the recall of the cascade up to this network is measured."""
    augmentation: Annotated[Augmentation, _only(Augmentation)] = Augmentation()
    windows: Annotated[Recipe, _only(Recipe)]
    """How many windows of a picture, and of a face, become samples."""
    mining: Mining | None = None
    """Of R-Net and O-Net."""


# False positives a picture: what P-Nets and R-Nets as good as the published ones need for 97 and 95.5 % of FDDB's faces
# (Seanlinx/mtcnn, issue 28: 600,000 and 80,000 in 2,845 pictures).
_DEFAULTS: dict[str, dict[str, Any]] = {
    "pnet": {"task_weights": TASK_WEIGHTS["pnet"], "false_positives": 200, "windows": asdict(Recipe())},
    **{
        name: {
            "task_weights": TASK_WEIGHTS[name],
            "false_positives": false_positives,
            "windows": asdict(MINING_RECIPE),
            "mining": {},
        }
        for name, false_positives in (("rnet", 28), ("onet", 0.3))
    },
}


class Config(_Table):
    """A training run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    start: Literal["scratch", "embedded"] | _File = "scratch"
    """What the networks start from: nothing, the embedded networks, or a weight file."""
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    validation: tuple[Source, ...] = ()
    """Whole pictures, on which recall is measured after each epoch; the best epoch is kept. None: the last is."""
    pnet: Training
    rnet: Training
    onet: Training

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        return {**table, **{name: _filled(table.get(name, {}), defaults) for name, defaults in _DEFAULTS.items()}}

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.pnet.mining is not None:
            raise ValueError("pnet.mining: P-Net is the first network, and there is no cascade to mine its samples")
        return self


def _filled(table: Any, defaults: dict[str, Any]) -> Any:
    """A table with what it lacks taken from the defaults, at any depth. What is no table is left to be refused."""
    if not isinstance(table, dict):
        return table
    return defaults | {
        key: _filled(value, defaults[key]) if isinstance(defaults.get(key), dict) else value
        for key, value in table.items()
    }


def read_config(path: Path) -> Config:
    """The configuration in a TOML file. Raises OSError, or ValueError with one line for each thing that is wrong."""
    with path.open("rb") as file:
        try:
            table = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path} is no TOML file: {error}") from error
    try:
        return Config.model_validate(table, context={"folder": path.parent})
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, part['loc']))}: {part['msg']}; it is {part['input']!r}" for part in error.errors()
        ]
        raise ValueError("\n".join([f"{path} is no configuration:", *wrong])) from None
