"""Settings that a later run must share with an earlier one to go on with it."""

from __future__ import annotations

import pytest

from mtcnn_fast.run_settings import as_json, differences


def test_differences() -> None:
    earlier = {"seed": 1, "limits": {"part": 2, "negative": 3}, "thresholds": [0.6, 0.7], "complete": True}
    assert differences(earlier, {key: earlier[key] for key in ("seed", "limits", "thresholds")}) == {}
    settings = {"thresholds": [0.6, 0.8], "seed": 2, "limits": {"part": 2, "positive": 1}, "name": "a", "limit": None}
    assert differences(earlier, settings) == {
        "thresholds": "thresholds is [0.6, 0.8], was [0.6, 0.7]",
        "seed": "seed is 2, was 1",
        "limits.positive": "limits.positive is 1, was not set",
        "limits.negative": "limits.negative is not set, was 3",
        "name": 'name is "a", was not set',
    }
    assert list(differences(earlier, settings)) == ["thresholds", "seed", "limits.positive", "limits.negative", "name"]


@pytest.mark.parametrize("earlier", [None, [], 3, "text"])
def test_a_document_that_is_no_table_has_no_settings(earlier: object) -> None:
    assert differences(earlier, {"seed": 1}) == {"seed": "seed is 1, was not set"}


def test_settings_are_compared_as_json_gives_them_back() -> None:
    settings = as_json({"thresholds": (0.6, 0.7), "limits": {"part": 2}})
    assert settings == {"thresholds": [0.6, 0.7], "limits": {"part": 2}}
