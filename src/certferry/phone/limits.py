"""How long a phone waits for what it asks for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """For how many seconds the machine waits for each answer. Those of real phones are not documented (3.7, 5.2)."""

    fetch: float = 60.0
    tvs: float = 15.0
    register: float = 30.0


DEFAULT_LIMITS = Limits()
