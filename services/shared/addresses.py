"""Where another service answers: at one address, behind which may be many processes, or at that of each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


class Addresses:
    """Who answered last is asked first."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._urls))

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def first(self) -> str:
        return self._urls[0]

    def silent(self, url: str) -> None:
        """It did not answer: it is asked again when none of the others does."""
        self._urls.remove(url)
        self._urls.append(url)
