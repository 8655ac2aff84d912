"""Training the cascade's networks from annotated pictures: `mtcnn-fast train`, and its parts. Needs the extra `train`.

`config` is what a run is made of, `complaints` what is wrong with it, `example` one to begin with; `pipeline` is the
run and `plan` what it would do. `windows`, `photographs`, `rotate`, `generate`, `mining` and `samples` make samples;
`networks`, `losses`, `augment`, `schedule`, `loop` and `record` learn from them; `validation` says what it is worth.
"""

from __future__ import annotations

NETWORK_NAMES = ("pnet", "rnet", "onet")
"""In the order of the cascade."""
