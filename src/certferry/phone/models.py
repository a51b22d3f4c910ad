"""What phones of some models do otherwise (phone-trust 2.2, 4.7)."""

_WITHOUT_ITL = frozenset({"6901", "6911"})


def asks_for_itl(model: str) -> bool:
    """Whether a phone of this model, ``8861`` or ``CP-8861``, asks for an ITL and holds one."""
    return model.upper().removeprefix("CP-") not in _WITHOUT_ITL
