"""The settings of a run, which a later run must share to go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as JSON gives them back: tuples become lists."""
    copy: dict[str, Any] = json.loads(json.dumps(settings))
    return copy


def differences(earlier: object, settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that differ from those of an earlier run, by name, each described as "NAME is 2, was 1".

    earlier: the document of the earlier run. Its top level may hold other things beside the settings. Settings in a
    table are named TABLE.NAME. In a table, a setting that only the earlier run has is a difference too.
    """
    return _differences(earlier if isinstance(earlier, Mapping) else {}, settings, settings.keys(), "")


def _differences(earlier: Mapping[str, Any], settings: Mapping[str, Any], names: Any, prefix: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name in names:
        old, new = earlier.get(name), settings.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            texts |= _differences(old, new, {**new, **old}, f"{prefix}{name}.")
        elif old != new:
            texts[prefix + name] = f"{prefix}{name} is {_shown(new)}, was {_shown(old)}"
    return texts


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value, default=repr)
