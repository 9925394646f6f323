"""The four that take part in a purchase, and which process of one writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

Service: TypeAlias = Literal["compras", "tokens", "usuarios", "transacciones"]
SERVICES: Final[tuple[Service, ...]] = ("compras", "tokens", "usuarios", "transacciones")


class WriterSearch:
    """For the process of a service that writes: each that is asked for its state says where that one answers. Behind an
    address may be all of them, and whom the next connection comes to, chance decides."""

    def __init__(self, urls: Iterable[str], *, follows: bool = True) -> None:
        """`follows`: a process is reached where it says itself that it answers."""
        # Whom to ask, one after another. It grows.
        self.urls = [*urls]
        self._follows = follows
        self._found: list[tuple[str, dict[str, Any]]] = []

    def heard(self, url: str, state: dict[str, Any]) -> bool:
        """Whether that is the one, at its own address."""
        self._found.append((url, state))
        named = state.get("writer") if self._follows else None
        if named and named not in self.urls:
            self.urls.append(named)
        return state["role"] == "writer" and named in (None, url)

    def nearest(self) -> tuple[str, dict[str, Any]] | None:
        """The one that writes, else one that follows. None: nobody was heard."""
        writers = (one for one in reversed(self._found) if one[1]["role"] == "writer")
        return next(writers, self._found[0] if self._found else None)
