"""Training the cascade's networks from annotated pictures: `mtcnn-fast train`, and its parts. Needs the extra `train`.

`config` reads the settings of a run, `complaints` words the errors in them, and `example` is a file to begin with.
`pipeline` is the run, `rounds` a chain of runs, `run_options` how they work, and `plan` the dry run. `windows`,
`photographs`, `rotate`, `jitter`, `teachers`, `generate`, `mining` and `samples` make samples. `augment` changes them
as `augmentation` says, by `degrade` and `occlude`. `networks`, `losses`, `distillation`, `average`, `schedule`, `loop`
and `record` learn from them. `validation` measures a network on whole pictures, and `calibration` adapts its scores.
"""

from __future__ import annotations

NETWORK_NAMES = ("pnet", "rnet", "onet")
"""The networks, in the order of the cascade."""
