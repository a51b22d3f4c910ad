"""A layered mapping is a dictionary to whoever looks, and never changes."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certferry.cluster import layered
from certferry.cluster.layered import Layered

Changes = dict[int, str | None]
changes = st.dictionaries(st.integers(0, 12), st.none() | st.text(max_size=2), max_size=6)


def applied(before: Mapping[int, str], made: Changes) -> dict[int, str]:
    return {key: value for key, value in {**before, **made}.items() if value is not None}


def assert_is(mapping: Layered[int, str], expected: dict[int, str]) -> None:
    assert dict(mapping) == expected
    assert (len(mapping), set(mapping)) == (len(expected), set(expected))
    for key in range(-1, 14):
        assert (key in mapping) is (key in expected)
        assert mapping.get(key) == expected.get(key)


@given(below=st.dictionaries(st.integers(0, 12), st.text(max_size=2)), steps=st.lists(changes, max_size=6))
@pytest.mark.parametrize("most", [0, 4, 4096])
def test_after_any_changes_it_holds_what_a_dictionary_would(
    most: int, below: dict[int, str], steps: list[Changes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layered, "MOST_ABOVE", most)
        made = [Layered(dict(below))]
        expected = [below]
        for step in steps:
            made.append(made[-1].changed(step))
            expected.append(applied(expected[-1], step))
        for mapping, wanted in zip(made, expected, strict=True):
            assert_is(mapping, wanted)


def test_what_is_not_there_is_a_key_error() -> None:
    mapping = Layered({1: "a"}).changed({1: None})
    for key in (1, 2):
        with pytest.raises(KeyError):
            mapping[key]


def test_few_changes_share_what_lies_below_and_many_are_laid_into_one() -> None:
    first = Layered(dict.fromkeys(range(10_000), "a"))
    few, many = first.changed({1: "b"}), first.changed(dict.fromkeys(range(layered.MOST_ABOVE + 1), "b"))
    assert few._below is first._below
    assert not many._above
    assert (few[1], few[2], many[1], len(many)) == ("b", "a", "b", 10_000)
