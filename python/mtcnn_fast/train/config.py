"""The settings of a training run: tables of a TOML file, checked before anything starts."""

from __future__ import annotations

import math
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

from mtcnn_fast import toml_files
from mtcnn_fast.checks import each, number
from mtcnn_fast.datasets import FORMATS
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.train.augmentation import Augmentation
from mtcnn_fast.train.complaints import complaints, unknown_setting
from mtcnn_fast.train.losses import TASK_WEIGHTS, TaskWeights
from mtcnn_fast.train.mining import MINING_RECIPE, Limits
from mtcnn_fast.train.schedule import LearningRates, apportion
from mtcnn_fast.train.windows import Recipe


def _beside(path: Path, info: ValidationInfo) -> Path:
    """The path below the folder of the configuration file."""
    return Path(info.context["folder"] if info.context else ".") / path


def _path(value: Any) -> Any:
    if not isinstance(value, str | Path):
        raise ValueError(f"wanted a path; it is {value!r}")
    if value == "" or "\0" in str(value):
        raise ValueError(f"wanted a path; it is {value!r}")
    if any(character < " " for character in str(value)):
        raise ValueError(f"wanted a path; it is {value!r}{toml_files.ESCAPES}")
    return value


def _dataclass_of(kind: type[Any]) -> BeforeValidator:
    """Makes the dataclass of a table. The checks of the dataclass are strict, where pydantic would convert."""
    names = [field.name for field in fields(kind)]

    def make(table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        for name in table:
            if name not in names:
                raise ValueError(unknown_setting(name, names))
        try:
            return kind(**table)
        except TypeError as error:  # pydantic takes ValueError alone for a verdict
            raise ValueError(str(error)) from error

    return BeforeValidator(make)


def _task_weights(values: Any) -> TaskWeights:
    try:
        weights = TaskWeights(*each("task_weights", values, len(TaskWeights._fields), number))
    except TypeError as error:
        raise ValueError(str(error)) from error
    if not (all(0 <= weight < math.inf for weight in weights) and any(weights)):
        raise ValueError(f"task_weights is {values}; wanted 3 finite numbers of at least 0, not all of them 0")
    return weights


def _start(value: Any) -> Any:
    # For a union, pydantic would report an error per type.
    try:
        return _path(value)
    except ValueError:
        raise ValueError(f"wanted 'scratch', 'embedded' or the path of a weight file; it is {value!r}") from None


_File = Annotated[Path, BeforeValidator(_path), AfterValidator(_beside)]
# Strict: TOML has types, and a value of another type is a mistake.
_Flag = Annotated[bool, Field(strict=True)]
_Count = Annotated[int, Field(ge=1, strict=True)]
_Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
_Share = Annotated[_Number, Field(gt=0, le=1)]
_Probability = Annotated[_Number, Field(ge=0, le=1)]
_Fraction = Annotated[_Number, Field(ge=0, lt=1)]
_Positive = Annotated[_Number, Field(gt=0)]
_NotNegative = Annotated[_Number, Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SetTable(_Table):
    """The TOML table of an `AnnotatedSet`. Its keys are fields of that class."""

    annotations: _File
    format: Literal[FORMATS] | None = None  # type: ignore[valid-type]  # the list stands once, in datasets
    images: _File | None = None
    only: _File | None = None
    ignored: _File | None = None
    outside: _Flag = False
    complete: _Flag = True
    expand: tuple[_Number, _Number, _Number, _Number] = (0, 0, 0, 0)

    def annotated_set(self) -> AnnotatedSet:
        """The set that the table describes, named by the path of its annotations."""
        fields_of_set = {field.name for field in fields(AnnotatedSet)}
        keys = {key: value for key, value in self if key in fields_of_set}
        return AnnotatedSet(**keys, name=str(self.annotations))


class SourceTable(SetTable):
    """The TOML table of pictures to learn from."""

    teachers: _File | None = None
    """Detections by other detectors."""
    teacher_score: _Probability = 0.2
    """The least score of such a detection that is no background."""
    scales: Annotated[tuple[_Share, ...], Field(min_length=1)] = (1,)
    """Scales, at most 1, at which samples of each picture are taken."""
    share: _NotNegative | None = None
    """The source's share of the samples of each kind in a batch, relative to the other sources. Not set: samples of all
    sources come equally often."""
    negative_share: _NotNegative | None = None
    """Its share of the negatives, if that is another."""

    def shares(self) -> list[float] | None:
        """The shares of negatives, positives, part faces and landmark samples; None if there are none."""
        if self.share is None:
            return None
        return [self.share if self.negative_share is None else self.negative_share, *[self.share] * 3]


class Mining(_Table):
    """The cascade that finds samples for R-Net and O-Net. Its thresholds are lower than those of a detector in use: a
    face that it misses cannot be learned, and a window that it takes for a face is a sample worth learning."""

    min_face_size: Annotated[_Number, Field(ge=4)] = 20
    scale_factor: Annotated[_Number, Field(gt=0, le=0.99)] = 0.709
    thresholds: tuple[_Probability, _Probability] = (0.4, 0.2)
    """The thresholds of P-Net and R-Net."""
    limits: Annotated[Limits, _dataclass_of(Limits)] = Limits()


class Training(_Table):
    """How one network is trained."""

    epochs: _Count = 16
    batches: _Count = 2000
    """Batches per epoch."""
    batch_size: _Count = 448
    mix: tuple[_NotNegative, _NotNegative, _NotNegative, _NotNegative] = (3, 1, 1, 2)
    """Shares of negatives, positives, parts and landmark samples in a batch."""
    hard_share: _Share = 0.7
    """Online hard sample mining: the share of a batch, hardest first, whose face loss counts. 1 turns it off."""
    task_weights: Annotated[TaskWeights, BeforeValidator(_task_weights)]
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: _Positive = 0.01
    momentum: _Fraction = 0.9
    """The momentum of SGD, or the first beta of Adam."""
    weight_decay: _NotNegative = 1e-5
    schedule: Literal["steps", "cosine"] = "steps"
    milestones: tuple[_Share, ...] = (0.5, 0.87)
    """Shares of the run after which the schedule "steps" multiplies the learning rate by `decay`."""
    decay: _Share = 0.1
    warmup: _NotNegative = 1
    """Epochs in which the learning rate rises from 0."""
    distillation: _Probability = 0
    """The share of a verdict, beside the label, in the face target of positives and part faces: the better of the
    starting network's probability and the teachers'. 0: labels alone count, and part faces have no face target."""
    average: _Fraction = 0
    """The share that each step keeps of the moving average of the weights, which is the result; 0: no average."""
    patience: _Count | None = None
    """The run stops after this many epochs without a better recall; not set: never. Needs validation pictures."""
    keep: Literal["best", "last"] = "best"
    """The epoch whose weights are the result: that of the best recall on the validation pictures, or the last."""
    calibrate: _Flag = False
    """Whether the face head of the result is mapped to the false positives that the embedded network has on the
    validation pictures at the default threshold."""
    mixed_precision: Literal["auto", "bf16", "off"] = "auto"
    """Arithmetic in bfloat16; "auto": where a GPU has it. (On a CPU with AMX, O-Net alone gains: 1.4 times.)"""
    held_out: _Fraction = 0.02
    """The share of the pictures whose samples are not learned but measured after each epoch."""
    false_positives: _Positive
    """False positives per picture at which the recall of the cascade up to this network is measured."""
    augmentation: Annotated[Augmentation, _dataclass_of(Augmentation)] = Augmentation()
    windows: Annotated[Recipe, _dataclass_of(Recipe)]
    """How many windows per picture and per face become samples."""
    mining: Mining | None = None
    """The cascade that finds samples, for R-Net and O-Net alone."""

    def learning_rates(self) -> LearningRates:
        """The learning rates of the run, in steps."""
        return LearningRates(
            greatest=self.learning_rate,
            steps=self.epochs * self.batches,
            warmup=self.warmup * self.batches,
            schedule=self.schedule,
            milestones=self.milestones,
            decay=self.decay,
        )

    def of_learning(self) -> dict[str, Any]:
        """The settings that the epochs depend on, in JSON's types. A finished run may take others of the rest."""
        return self.model_dump(mode="json", exclude={"keep", "calibrate"})

    @model_validator(mode="after")
    def _check(self) -> Training:
        apportion(self.mix, self.batch_size)
        steps = {"milestones", "decay"} & self.model_fields_set
        if self.schedule == "cosine" and steps:
            raise ValueError(f"schedule is 'cosine', which has no {' and no '.join(sorted(steps))}")
        return self


# False positives per picture: P-Nets and R-Nets as good as the published ones need so many to find 97 and 95.5 % of
# FDDB's faces (Seanlinx/mtcnn, issue 28: 600,000 and 80,000 in 2,845 pictures).
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

    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    start: Annotated[Literal["scratch", "embedded"] | _File, BeforeValidator(_start)] = "scratch"
    """The weights that the networks start from: random ones, the embedded ones, or those of a weight file."""
    sources: tuple[SourceTable, ...]
    validation: tuple[SetTable, ...] = ()
    """Whole pictures, on which recall is measured after each epoch. If there are none, the last epoch is kept."""
    pnet: Training
    rnet: Training
    onet: Training

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        return {
            **table,
            **{name: with_defaults(table.get(name, {}), defaults) for name, defaults in _DEFAULTS.items()},
        }

    @model_validator(mode="after")
    def _check(self) -> Config:
        if not self.sources:
            raise ValueError("sources is empty; wanted annotated pictures to learn from")
        sharing = [source.share is not None for source in self.sources]
        for place, source in enumerate(self.sources, 1):
            if source.share is None and (any(sharing) or source.negative_share is not None):
                raise ValueError(f"sources #{place} has no share; wanted one for every source, or for none")
        shares = [shares[:2] for source in self.sources if (shares := source.shares())]
        for kind, of_kind in zip(("negatives", "faces"), zip(*shares, strict=True), strict=False):
            if not any(of_kind):
                raise ValueError(f"no source has a share of the {kind}; wanted one above 0")
        if self.pnet.mining is not None:
            raise ValueError("pnet.mining: P-Net is the first network, and there is no cascade to mine its samples")
        for name in _DEFAULTS:
            training: Training = getattr(self, name)
            if name != "pnet" and training.mining is None:
                raise ValueError(f"{name}.mining is None; wanted the cascade that mines the samples of R-Net and O-Net")
            if training.patience is not None and not self.validation:
                raise ValueError(f"{name}.patience is {training.patience}, and there are no validation pictures")
            if training.calibrate and not self.validation:
                raise ValueError(f"{name}.calibrate is true, and there are no validation pictures")
        return self


def with_defaults(table: Any, defaults: dict[str, Any]) -> Any:
    """A table, completed from the defaults at any depth. A value that is no table stays, and is refused later."""
    if not isinstance(table, dict):
        return table
    return defaults | {
        key: with_defaults(value, defaults[key]) if isinstance(defaults.get(key), dict) else value
        for key, value in table.items()
    }


def checked_config(table: dict[str, Any], path: Path, what: str = "configuration") -> Config:
    """The configuration in a table of a file. what: names it in messages. Raises ValueError with one line per error."""
    try:
        return Config.model_validate(table, context={"folder": path.parent})
    except ValidationError as error:
        raise ValueError("\n".join([f"{path}: invalid {what}:", *complaints(error.errors(), Config)])) from None
