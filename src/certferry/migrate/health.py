"""What a result says went well, for whoever asks what failed when nothing did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certferry.migrate.causes import Text
from certferry.migrate.record import parse_record
from certferry.migrate.signs import clip

_MOVED = "would-migrate"


@dataclass(frozen=True, slots=True)
class Health:
    """How many checks pass and phones would migrate; ``unseen`` are the checks that could not be told."""

    passed: int
    moved: int
    unseen: tuple[str, ...]

    def sentence(self) -> Text:
        """Say that nothing failed, and what is counted instead."""
        english, japanese = [], []
        if self.passed:
            english.append("1 check passes" if self.passed == 1 else f"{self.passed} checks pass")
            japanese.append(f"合格 {self.passed} 件")
        if self.moved:
            english.append(f"{self.moved} phone{'s' if self.moved > 1 else ''} would migrate")
            japanese.append(f"移行可能な電話機 {self.moved} 台")
        unseen = len(self.unseen)
        return Text(
            f"Nothing failed: {', '.join(english) or 'the result says that all went well'}."
            + (f" {unseen} could not be told:" if unseen else ""),
            f"失敗はありません: {'、'.join(japanese) or '結果は成功を示しています'}。"
            + (f"判定できなかった項目 {unseen} 件:" if unseen else ""),
        )


def went_well(text: str, device: str = "") -> Health | None:
    """Count what a result tells besides failures, for which ``diagnose`` is asked first.

    None for anything that is no result, for one in which nothing could be told, and for one without ``device``. A
    result without checks, such as the demo's, speaks for itself with ``ok``.
    """
    result = parse_record(text)
    if not isinstance(result, dict) or result.get("ok") is not True:
        return None
    phones = [phone for phone in _list(result, "phones") if not device or phone.get("device") == device]
    if device and not phones:
        return None
    checks = _list(result, "checks")
    passed = sum(check.get("verdict") == "pass" for check in checks)
    moved = sum(phone.get("outcome") == _MOVED for phone in phones)
    unseen = [
        clip(f"{each.get('title')}: {each.get('evidence')}") for each in checks if each.get("verdict") == "unknown"
    ]
    return Health(passed, moved, tuple(unseen)) if passed or moved or "checks" not in result else None


def _list(result: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = result.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
