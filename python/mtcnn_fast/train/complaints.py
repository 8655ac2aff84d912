"""The errors that pydantic finds in a configuration, in words for its author."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

_LONGEST = 60

# The wanted value per type of pydantic error, from the context of the error, such as a limit.
_WANTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "bool_type": lambda _: "true or false",
    "finite_number": lambda _: "a finite number",
    "float_type": lambda _: "a number",
    "greater_than": lambda context: f"more than {context['gt']:.15g}",
    "greater_than_equal": lambda context: f"at least {context['ge']:.15g}",
    "int_type": lambda _: "an integer",
    "less_than": lambda context: f"less than {context['lt']:.15g}",
    "less_than_equal": lambda context: f"at most {context['le']:.15g}",
    "path_type": lambda _: "a path",
    "string_type": lambda _: "a string",
    "too_long": lambda context: f"{context['max_length']} values",
    "too_short": lambda context: f"{context['min_length']} values",
    "tuple_type": lambda _: "an array",
    "dataclass_type": lambda _: "a table",
    "dict_type": lambda _: "a table",
    "model_type": lambda _: "a table",
}


def unknown_setting(name: str, known: Sequence[str]) -> str:
    """A message about a setting that does not exist."""
    close = get_close_matches(name, known, n=1)
    return f"there is no setting {name}; " + (f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}")


def complaints(errors: Sequence[Any], model: type[BaseModel]) -> Iterator[str]:
    """A line per error of a table that pydantic has validated as `model`."""
    lines = [": ".join(filter(None, _complaint(error, model))) for error in errors]
    yield from dict.fromkeys(lines)  # pydantic has an error per value that an array lacks


def _complaint(error: Any, model: type[BaseModel]) -> tuple[str, str]:
    """The place of an error, and a message."""
    kind, where, came, context = error["type"], error["loc"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _place(where[:-1]), unknown_setting(str(where[-1]), list(_model_at(where[:-1], model).model_fields))
    if kind == "missing" and isinstance(where[-1], int):
        assert isinstance(where[-2], str)
        field = _model_at(where[:-2], model).model_fields[where[-2]]
        return _place(where[:-1]), f"wanted {len(get_args(field.annotation))} values; it is {_shown(came)}"
    if kind == "missing":
        return _place(where[:-1]), f"{where[-1]} is missing"
    if kind == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return _place(where), f"there is no {_shown(came)}; wanted one of {', '.join(choices)}"
    if kind == "value_error":  # from the checks of this package, which name the value
        return _place(where), error["msg"].removeprefix("Value error, ")
    wanted = _WANTED[kind](context) if kind in _WANTED else error["msg"]
    return _place(where), f"wanted {wanted}; it is {_shown(came)}"


def _place(where: Sequence[str | int]) -> str:
    """A place, such as `sources #2`, `pnet.windows`, `pnet.mix[3]`. Tables of an array count from 1, values from 0."""
    place = ""
    for i, part in enumerate(where):
        if isinstance(part, str):
            place += f".{part}" if place else part
        else:
            place += f" #{part + 1}" if i == 1 and where[0] in ("sources", "validation") else f"[{part}]"
    return place


def _model_at(where: Sequence[str | int], model: type[BaseModel]) -> type[BaseModel]:
    """The model of a table."""
    for part in where:
        if isinstance(part, str):
            inner = _model_in(model.model_fields[part].annotation)
            assert inner is not None
            model = inner
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _shown(value: object) -> str:
    """A value as it stands in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    text = repr(value)
    return text if len(text) <= _LONGEST else "an array" if isinstance(value, list) else f"{text[:_LONGEST]}..."
