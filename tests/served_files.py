"""What a file server of a test serves, and what it was asked for."""

from collections.abc import Mapping


class ServedFiles:
    """Files by name in any letter case, as ``FileLibrary`` finds them."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.asked: list[str] = []
        self._files = files

    def find(self, name: str) -> bytes | None:
        self.asked.append(name)
        return self._files.get(name.lower())
