"""The parser of every command: reading arguments, and showing help and errors."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Shows defaults as they are typed, and a wrong argument as one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"formatter_class": Formatter, **settings})

    def _print_message(self, message: str, file: Any = None) -> None:
        # Python 3.11.2 and older versions let the OSError of a full stream pass. The console tells of it at the end.
        with suppress(OSError):
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Prints the message and ends the process with status 2."""
        # A message of several lines is about a file, not about the options.
        options = "" if "\n" in message else f" (options: {self.prog} --help)"
        self.exit(2, f"{self.prog}: error: {message}{options}\n")


class Formatter(argparse.HelpFormatter):
    """Adds to the help of each option its default, unless the text has it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, value = action.help, action.default
        if not text or not action.option_strings or "(default:" in text or value in (None, argparse.SUPPRESS):
            return text
        if isinstance(value, list | tuple):
            shown = " ".join(map(str, value))
        else:
            shown = {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
        return f"{text} (default: {shown.replace('%', '%%')})" if shown else text


def path(text: str) -> str:
    """An argument that is a path. It must not be empty, because elsewhere that means the current folder, or nothing."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; wanted a path")
    return text
