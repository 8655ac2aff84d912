"""Checks of the types of arguments that are not images, and texts for error messages. The C++ core checks ranges."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_INT_MAX = 2**31 - 1


def described(value: object) -> str:
    """A short description of a value for an error message."""
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of shape {value.shape}"
    text = repr(value)
    return f"{text} ({type(value).__name__})" if len(text) <= 60 else f"a {type(value).__name__}"


def shown(name: object) -> str:
    """A name that is safe to print in one line: characters that control a terminal or end a line are escaped."""
    return "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in str(name))


def article(kind: type) -> str:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@contextmanager
def named(name: str, otherwise: type[Exception]) -> Iterator[None]:
    """Puts a name in front of the errors that another package raises in the block.

    MemoryError, OSError, RuntimeError, TypeError and ValueError keep their kind. Any other error becomes an
    `otherwise`.
    """
    try:
        yield
    except Exception as error:
        kinds = (MemoryError, OSError, RuntimeError, TypeError, ValueError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), otherwise)
        # The text of a KeyError is only the key.
        said = repr(error) if isinstance(error, LookupError) or not str(error) else str(error)
        raise kind(f"{name}: {said}") from error


def number(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {described(value)}; wanted a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is beyond the range of a float") from None


def integer(name: str, value: object) -> int:
    try:
        # Elsewhere NumPy's arrays of one integer and Python's booleans count as integers. Here they are mistakes.
        if isinstance(value, bool | np.bool_ | np.ndarray):
            raise TypeError
        index = operator.index(value)  # type: ignore[arg-type]  # TypeError without __index__ is the check
    except TypeError:
        raise TypeError(f"{name} is {described(value)}; wanted an integer") from None
    if abs(index) > _INT_MAX:
        raise ValueError(f"{name} is {index}; it must fit 32 bits")
    return index


def at_least(name: str, value: object, least: int) -> int:
    found = integer(name, value)
    if found < least:
        raise ValueError(f"{name} is {found}; wanted at least {least}")
    return found


def each(name: str, values: object, count: int, check: Callable[[str, object], T]) -> tuple[T, ...]:
    """The `count` elements of a sequence, each checked by one of the functions above."""
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str | bytes):
        raise TypeError(f"{name} is {described(values)}; wanted {count} numbers")
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} numbers; wanted {count}")
    return tuple(check(f"{name}[{i}]", value) for i, value in enumerate(values))


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {described(value)}; wanted True or False")
    return bool(value)


def text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is {described(value)}; wanted a string")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{name} is {value!r}, which is no text: it holds half a character")
    return value


def is_masked(array: object) -> bool:
    # A plain array is excluded first, because the first use of numpy.ma imports it, in 7 ms.
    return type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray)


def floats(
    name: str, value: object, shape: tuple[int | None, ...], integers: bool = False
) -> np.ndarray[Any, np.dtype[Any]]:
    """Returns `value` if it is a floating-point (or integer) array of that shape. None in it stands for any length.

    Raises TypeError for another type, ValueError for another shape.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind not in ("fiu" if integers else "f"):
        raise TypeError(f"{name} is {described(value)}; wanted a floating-point NumPy array")
    if is_masked(value):
        raise TypeError(f"{name} is a masked array; wanted one without a mask")
    if len(shape) != value.ndim or any(w not in (None, s) for w, s in zip(shape, value.shape, strict=True)):
        wanted = ", ".join("n" if side is None else str(side) for side in shape)
        raise ValueError(f"{name} has shape {value.shape}; wanted ({wanted})")
    return value
