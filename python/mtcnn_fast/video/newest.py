"""Images of a source that does not wait: a reader gets the newest, and those in between are dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtcnn_fast.video.source import Image, Source


class Newest:
    """A thread that loads the images after a source's first one, and keeps the last."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = threading.Condition()
        self._image: tuple[int, Image] | None = None
        self._failure: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="mtcnn_fast-newest")
        self._thread.start()

    def __iter__(self) -> Iterator[tuple[int, Image]]:
        """The images with their places among all of the source, from 1 on. Raises what `Source.load` raises."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._image is not None or self._ended)
                image, self._image = self._image, None
            if image is not None:
                yield image
            elif self._failure is not None:
                raise self._failure
            else:
                return

    def close(self) -> None:
        """Ends the thread, after the image that it is loading."""
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        # Python waits for this thread when the program ends. So it ends with the program, if nobody closes it.
        program = threading.main_thread()
        for number in count(1):
            if self._ended or not program.is_alive():
                break
            try:
                image = self._source.load(None)
            except BaseException as error:
                self._failure = error
                break
            if image is None:
                break
            with self._changed:
                self._image = number, image
                self._changed.notify()
        with self._changed:
            self._ended = True
            self._changed.notify()
