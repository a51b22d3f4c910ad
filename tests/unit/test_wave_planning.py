"""Which phones migrate, and in what order."""

import pytest

from certferry.cluster.values import Phone
from certferry.migrate.waves.choosing import (
    Choice,
    NothingChosenError,
    PhoneNotAtDestinationError,
    PhoneNotAtSourceError,
    SourceEmptyError,
    choose,
    share,
)
from certferry.migrate.waves.planning import (
    Rules,
    Threshold,
    ThresholdInvalidError,
    choose_canaries,
    plan_waves,
)


def phones(
    count: int, model: str = "8861", group: str = "Default", *, secure: bool = False, first: int = 0
) -> list[Phone]:
    return [Phone(f"SEP{number:012X}", model, group, secure) for number in range(first, first + count)]


MIXED = [
    *phones(20),
    *phones(4, "7962", first=100),
    *phones(3, "8861", "Branch", first=200),
    *phones(2, "8861", secure=True, first=300),
    *phones(1, "6921", "Branch", secure=True, first=400),
]


def names(chosen: object) -> list[str]:
    return [phone.device for phone in chosen]  # type: ignore[attr-defined]


# --- choosing


def test_all_phones_of_the_source_can_be_chosen() -> None:
    assert choose(Choice(everything=True), MIXED, MIXED).phones == tuple(MIXED)


def test_phones_are_chosen_by_group_and_by_name() -> None:
    chosen = choose(Choice(groups=["Branch"], devices=["SEP000000000001"]), MIXED, MIXED)
    assert names(chosen.phones) == ["SEP000000000001", *(p.device for p in MIXED if p.group == "Branch")]


def test_nothing_said_chooses_nothing() -> None:
    with pytest.raises(NothingChosenError):
        choose(Choice(), MIXED, MIXED)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (Choice(devices=["SEP00000000FFFF"]), "no phone SEP00000000FFFF"),
        (Choice(groups=["Brunch"]), "no phone of a group Brunch"),
    ],
)
def test_what_the_source_does_not_know_is_refused_by_name(choice: Choice, told: str) -> None:
    with pytest.raises(PhoneNotAtSourceError, match=told):
        choose(choice, MIXED, MIXED)


def test_phones_that_the_destination_does_not_know_are_refused_by_name() -> None:
    with pytest.raises(PhoneNotAtDestinationError, match="SEP000000000000, SEP000000000001"):
        choose(Choice(everything=True), MIXED, MIXED[2:])


def test_a_long_list_of_unknown_phones_is_cut() -> None:
    with pytest.raises(PhoneNotAtDestinationError, match=r"and 20 more$"):
        choose(Choice(everything=True), MIXED, [])


def test_phones_that_the_destination_does_not_know_can_be_left_out() -> None:
    chosen = choose(Choice(everything=True, skip_unknown=True), MIXED, MIXED[2:])
    assert chosen.left_out == ("SEP000000000000", "SEP000000000001")
    assert chosen.phones == tuple(MIXED[2:])


def test_leaving_out_every_phone_is_refused_with_where_to_add_them() -> None:
    with pytest.raises(PhoneNotAtDestinationError, match=f"knows none of the {len(MIXED)} phones") as refused:
        choose(Choice(everything=True, skip_unknown=True), MIXED, [])
    assert "phone import" in refused.value.remedy


def test_who_asks_for_all_phones_of_a_source_without_any_is_not_told_to_ask_for_all() -> None:
    with pytest.raises(SourceEmptyError, match="the source knows no phone") as refused:
        choose(Choice(everything=True), [], MIXED)
    assert "--all" not in refused.value.remedy


@pytest.mark.parametrize("percent", [1, 10, 33, 50, 99, 100])
def test_a_share_is_rounded_up_and_the_same_every_time(percent: int) -> None:
    drawn = share(MIXED, percent)
    assert len(drawn) == -(-len(MIXED) * percent // 100)
    assert drawn == share(MIXED[::-1], percent)[::-1]


def test_a_larger_share_holds_every_phone_of_a_smaller_one() -> None:
    assert set(share(MIXED, 20)) < set(share(MIXED, 60)) < set(share(MIXED, 100))


# --- canaries and waves


def test_canaries_show_every_model_group_and_profile_first() -> None:
    by_name = {phone.device: phone for phone in MIXED}
    first = [by_name[device] for device in choose_canaries(MIXED, 3)]
    assert {phone.model for phone in first} == {"8861", "7962", "6921"}
    assert {phone.group for phone in first} == {"Default", "Branch"}
    assert {phone.secure for phone in first} == {True, False}


def test_more_canaries_show_every_combination_then_go_round() -> None:
    by_name = {phone.device: phone for phone in MIXED}
    first = [by_name[device] for device in choose_canaries(MIXED, 8)]
    kinds = [(phone.model, phone.group, phone.secure) for phone in first]
    assert len(set(kinds[:5])) == 5
    assert kinds[5:] == [kind for kind in kinds[:5] if kind != ("6921", "Branch", True)][:3]


def test_canaries_are_registered_phones_as_long_as_there_are_any() -> None:
    registered = {"SEP000000000007", "SEP000000000065"}
    assert set(choose_canaries(MIXED, 2, registered)) == registered
    assert len(choose_canaries(MIXED, 4, registered)) == 4


def test_there_are_never_more_canaries_than_phones() -> None:
    assert len(choose_canaries(MIXED, 1000)) == len(MIXED)


@pytest.mark.parametrize(("count", "canaries"), [(3, 3), (40, 5), (2000, 20)])
def test_five_phones_or_one_in_a_hundred_are_canaries(count: int, canaries: int) -> None:
    waves = plan_waves(phones(count))
    assert list(waves.values()).count(0) == canaries


def test_waves_have_the_size_that_was_asked_for() -> None:
    waves = list(plan_waves(phones(23), canary=2, size=10).values())
    assert [waves.count(number) for number in range(4)] == [2, 10, 10, 1]


def test_without_canaries_the_first_wave_is_wave_one() -> None:
    assert set(plan_waves(phones(5), canary=0, size=3).values()) == {1, 2}


def test_every_phone_is_in_exactly_one_wave() -> None:
    assert sorted(plan_waves(MIXED, canary=4, size=7)) == sorted(names(MIXED))


# --- the threshold


@pytest.mark.parametrize(("text", "threshold"), [("3", Threshold(number=3)), (" 5% ", Threshold(percent=5))])
def test_a_threshold_is_a_number_or_a_share(text: str, threshold: Threshold) -> None:
    assert Threshold.parse(text) == threshold
    assert Threshold.parse(str(threshold)) == threshold


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "1.5", "five", "%", "٣"])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(ThresholdInvalidError):
        Threshold.parse(text)


@pytest.mark.parametrize(
    ("threshold", "failures", "in_wave", "size", "reached"),
    [
        ("3", 2, 2, 100, False),
        ("3", 3, 1, 100, True),
        ("5%", 4, 4, 100, False),
        ("5%", 5, 5, 100, True),
        ("5%", 1, 1, 10, True),
        ("5%", 0, 0, 10, False),
        ("5%", 9, 0, 10, False),
    ],
)
def test_a_number_counts_all_failures_and_a_share_those_of_the_wave(
    threshold: str, failures: int, in_wave: int, size: int, reached: bool
) -> None:
    found = Threshold.parse(threshold).is_reached(failures=failures, in_wave=in_wave, wave_size=size)
    assert found is reached


def test_settings_survive_the_database() -> None:
    rules = Rules(2.5, 60, 120, Threshold.parse("7%"))
    assert Rules.of_json(rules.to_json() | {"wave_size": 10}) == rules
