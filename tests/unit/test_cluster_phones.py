"""The phones and CallManager groups a cluster knows, and how phones are read from CSV."""

import pytest

from certferry.cluster.cluster import Cluster
from certferry.cluster.phones import GroupInvalidError, PhoneInvalidError, PhoneUnknownError, device_name, parse_csv
from certferry.cluster.values import CallManagerGroup, Phone
from conftest import MakeCluster

ONE, TWO, THREE = "SEP001122334401", "SEP001122334402", "SEP001122334403"


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(nodes=3)


# --- names


@pytest.mark.parametrize(
    "text",
    ["SEP00A1B2C3D4E5", "sep00a1b2c3d4e5", "00A1B2C3D4E5", "00:a1:b2:c3:d4:e5", "00-A1-B2-C3-D4-E5", "00a1.b2c3.d4e5"],
)
def test_a_phone_is_named_by_its_device_name_or_its_mac_in_any_spelling(text: str) -> None:
    assert device_name(f" {text} ") == "SEP00A1B2C3D4E5"


@pytest.mark.parametrize("text", ["", "SEP", "SEP00A1B2C3D4E", "SEP00A1B2C3D4E55", "00A1B2C3D4EG", "ATA00A1B2C3D4E5"])
def test_what_is_no_mac_is_no_phone(text: str) -> None:
    with pytest.raises(PhoneInvalidError, match="is not a phone's device name"):
        device_name(text)


# --- adding and forgetting


def test_phones_are_listed_by_name(cluster: Cluster) -> None:
    cluster.add_phones([Phone(TWO), Phone(ONE)])
    assert [phone.device for phone in cluster.phones()] == [ONE, TWO]


def test_everything_told_of_a_phone_is_kept(cluster: Cluster) -> None:
    cluster.put_group(CallManagerGroup("East", ("source-sub1",)))
    phone = Phone(ONE, "7821", "East", secure=True, description="reception; ground floor")
    cluster.add_phones([phone])
    assert Cluster.open(cluster.location.text).phones() == (phone,)


def test_a_known_phone_added_again_is_changed(cluster: Cluster) -> None:
    cluster.add_phones([Phone(ONE), Phone(TWO)])
    cluster.add_phones([Phone(ONE, "8845", secure=True)])
    assert cluster.phones() == (Phone(ONE, "8845", secure=True), Phone(TWO))


def test_a_phone_is_kept_under_its_device_name_however_it_was_spelled(cluster: Cluster) -> None:
    cluster.add_phones([Phone("00:11:22:33:44:01")])
    assert cluster.phones() == (Phone(ONE),)


def test_adding_no_phones_is_no_fault(cluster: Cluster) -> None:
    cluster.add_phones([])
    assert cluster.phones() == ()


@pytest.mark.parametrize(
    ("phone", "told"),
    [
        (Phone(ONE, group="West"), f"{ONE}: there is no CallManager group 'West'"),
        (Phone(ONE, model="<8861>"), f"{ONE}: '<8861>' is not a model"),
        (Phone(ONE, model=""), f"{ONE}: '' is not a model"),
        (Phone(ONE, description="lobby\0"), f"{ONE}: the description holds a NUL"),
        (Phone("SEP1"), "'SEP1' is not a phone's device name"),
    ],
)
def test_one_phone_that_cannot_be_keeps_all_others_out(cluster: Cluster, phone: Phone, told: str) -> None:
    version = cluster.version()
    with pytest.raises(PhoneInvalidError, match=told):
        cluster.add_phones([Phone(TWO), phone])
    assert cluster.phones() == ()
    assert cluster.version() == version


def test_phones_are_forgotten_by_any_spelling_of_their_name(cluster: Cluster) -> None:
    cluster.add_phones([Phone(ONE), Phone(TWO), Phone(THREE)])
    cluster.remove_phones([ONE.lower(), "00:11:22:33:44:03"])
    assert cluster.phones() == (Phone(TWO),)


def test_one_unknown_phone_keeps_all_others_from_being_forgotten(cluster: Cluster) -> None:
    cluster.add_phones([Phone(ONE)])
    with pytest.raises(PhoneUnknownError, match=TWO):
        cluster.remove_phones([ONE, TWO])
    assert cluster.phones() == (Phone(ONE),)


def test_ten_thousand_phones_are_added_in_one_change(cluster: Cluster) -> None:
    version = cluster.version()
    cluster.add_phones([Phone(f"SEP{number:012X}") for number in range(10_000)])
    assert len(cluster.phones()) == 10_000
    assert cluster.version() == version + 1


# --- groups


def test_a_group_keeps_its_order_of_preference(cluster: Cluster) -> None:
    group = CallManagerGroup("East", ("source-sub2", "source-pub", "source-sub1"))
    cluster.put_group(group)
    assert [each.name for each in cluster.groups()] == ["Default", "East"]
    assert cluster.groups()[1] == group


def test_a_group_can_be_changed(cluster: Cluster) -> None:
    cluster.put_group(CallManagerGroup("Default", ("source-pub",)))
    assert cluster.groups() == (CallManagerGroup("Default", ("source-pub",)),)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ((), "0 members instead of 1 to 3"),
        (("source-pub", "source-sub1", "source-sub2", "source-sub3"), "4 members instead of 1 to 3"),
        (("source-pub", "elsewhere"), "elsewhere, which is no node of this cluster"),
        (("source-sub1", "source-sub1"), "names a node twice"),
    ],
)
def test_a_group_that_cannot_be_is_refused(cluster: Cluster, members: tuple[str, ...], told: str) -> None:
    before = cluster.groups()
    with pytest.raises(GroupInvalidError, match=told):
        cluster.put_group(CallManagerGroup("East", members))
    assert cluster.groups() == before


# --- CSV


def test_a_csv_needs_only_devices() -> None:
    assert parse_csv(f"device\n{ONE}\n00:11:22:33:44:02\n") == [Phone(ONE), Phone(TWO)]


def test_its_columns_stand_in_any_order_under_headings_in_any_case() -> None:
    text = f'Secure, Description ,DEVICE,model,group\nyes,"hall, left",{ONE},7821,East\n,,{TWO},,\n'
    assert parse_csv(text) == [Phone(ONE, "7821", "East", secure=True, description="hall, left"), Phone(TWO)]


@pytest.mark.parametrize(("word", "secure"), [("true", True), ("YES", True), ("1", True), ("t", True), ("no", False)])
def test_whether_a_phone_is_secure_is_said_in_any_usual_word(word: str, *, secure: bool) -> None:
    assert parse_csv(f"device,secure\n{ONE},{word}\n") == [Phone(ONE, secure=secure)]


def test_empty_lines_spaces_and_the_mark_that_spreadsheets_put_in_front_do_not_count() -> None:
    text = f"\ufeffdevice , model\r\n\r\n  {ONE} , 8845 \r\n,\r\n"
    assert parse_csv(text) == [Phone(ONE, "8845")]


def test_short_lines_and_unknown_columns_do_not_count() -> None:
    assert parse_csv(f"device,model,site,\n{ONE}\n{TWO},8845,Osaka,\n") == [Phone(ONE), Phone(TWO, "8845")]


@pytest.mark.parametrize("text", ["", "\n\n", "name,model\nSEP1,8861\n", f"{ONE}\n"])
def test_a_csv_without_the_heading_device_is_refused(text: str) -> None:
    with pytest.raises(PhoneInvalidError, match="no column 'device'"):
        parse_csv(text)


def test_every_fault_is_told_with_its_line() -> None:
    text = "\n".join(
        [
            "device,model,secure,description",
            f"{ONE},8861,true,fine",
            "SEP1,8861,true,too short",
            "",
            f"{TWO},<8861>,true,no model",
            f"{THREE},8861,ture,a slip",
            f"{ONE},8861,true,again",
            f"{THREE},8861,true,one comma, too many",
        ]
    )
    with pytest.raises(PhoneInvalidError) as caught:
        parse_csv(text)
    assert str(caught.value).split("; ") == [
        "line 3: 'SEP1' is not a phone's device name or MAC address",
        "line 5: '<8861>' is not a model",
        "line 6: secure is 'ture', neither true nor false",
        f"line 7: {ONE} stands further up already",
        "line 8: there are more cells than headings: 'too many'",
    ]


def test_a_line_is_counted_as_an_editor_counts_it_behind_cells_of_several_lines() -> None:
    with pytest.raises(PhoneInvalidError, match=r"^line 5: 'SEP1'"):
        parse_csv(f'device,description\n{ONE},"first\nsecond\nthird"\nSEP1,\n')


def test_a_hundred_faults_are_not_all_told() -> None:
    with pytest.raises(PhoneInvalidError, match=r"line 21: .*; and 80 more$") as caught:
        parse_csv("device\n" + "wrong\n" * 100)
    assert "line 22" not in str(caught.value)


@pytest.mark.parametrize("text", ["device\n" + "x" * 200_000, 'device\n"' + "x" * 200_000])
def test_what_no_csv_reader_takes_is_told_by_its_line(text: str) -> None:
    with pytest.raises(PhoneInvalidError, match="line 2 of the CSV cannot be read: field larger"):
        parse_csv(text)


def test_a_file_that_is_no_text_table_at_all_is_refused() -> None:
    with pytest.raises(PhoneInvalidError):
        parse_csv("\0\x01\x02" * 50)
