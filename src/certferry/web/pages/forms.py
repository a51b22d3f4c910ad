"""Forms: what was typed, what is wrong with it, beside which field."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request
from starlette.datastructures import UploadFile

from certferry.web.pages.once import new_key

LONGEST_VALUE = 65_536
LARGEST_FILE = 1024 * 1024


@dataclass(slots=True)
class Form:
    """The fields of a form as typed, an error sentence for each wrong one, and the key that makes it count once."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    key: str = field(default_factory=new_key)

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def has(self, name: str) -> bool:
        """Whether a box is ticked, or a field sent at all."""
        return name in self.values

    def refuse(self, name: str, sentence: str) -> None:
        """Note what is wrong with a field; the first fault of a field counts."""
        self.errors.setdefault(name, sentence)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.errors


async def read_form(request: Request, largest: int = LARGEST_FILE) -> Form:
    """Read a posted form; white space around values goes, as it does nowhere mean anything here.

    Of a file ``largest`` bytes are read, and one more where it has more.
    """
    data = await request.form()
    values: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            files[name] = await value.read(largest + 1)
            await value.close()
            values[name] = value.filename or ""
        else:
            read = value if name == "password" else value.strip()[:LONGEST_VALUE]
            # A field that comes several times, such as ticked boxes of one name, has a line for each.
            values[name] = f"{values[name]}\n{read}" if name in values and name != "password" else read
    return Form(values, files=files, key=values.get("key") or new_key())
