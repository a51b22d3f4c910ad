"""A mapping of 100,000 entries that changes a few at a time, without being copied each time."""

from collections.abc import Iterator, Mapping
from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")
MOST_ABOVE: Final = 4096
"""Changes that lie above the others; with more, all are laid into one."""


class Layered(Mapping[K, V], Generic[K, V]):
    """A mapping that never changes. One that is made of it shares with it all that stays the same.

    Values are anything but None, which takes a key away.
    """

    __slots__ = ("_above", "_below", "_size")

    def __init__(self, below: dict[K, V], above: dict[K, V | None] | None = None, size: int | None = None) -> None:
        """Take over a dictionary, which nobody else is to change; ``changed`` gives the rest."""
        self._below = below
        self._above = above or {}
        self._size = len(below) if size is None else size

    def changed(self, changes: Mapping[K, V | None]) -> "Layered[K, V]":
        """Make one with ``changes``, of which None takes a key away."""
        above = {**self._above, **changes}
        if len(above) <= MOST_ABOVE:
            gone = sum(key in self for key in changes)
            come = sum(value is not None for value in changes.values())
            return Layered(self._below, above, self._size + come - gone)
        below: dict[K, V | None] = {**self._below, **above}
        return Layered({key: value for key, value in below.items() if value is not None})

    def __getitem__(self, key: K) -> V:
        value = self._above[key] if key in self._above else self._below[key]
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        if key in self._above:
            return self._above[key] is not None
        return key in self._below

    def __iter__(self) -> Iterator[K]:
        yield from (key for key in self._below if key not in self._above)
        yield from (key for key, value in self._above.items() if value is not None)

    def __len__(self) -> int:
        return self._size
