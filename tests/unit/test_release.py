"""Releases: how they are written, how they compare, and what changed when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certferry.trust.release import Release, ReleaseUnknownError


class TestReading:
    @pytest.mark.parametrize(
        ("text", "release"),
        [
            ("10", Release(10)),
            ("10.0", Release(10)),
            ("10.0(1)", Release(10, 0, 1)),
            ("10.5.2", Release(10, 5, 2)),
            ("10.5(2)", Release(10, 5, 2)),
            ("10.5(2)SU6a", Release(10, 5, 2)),
            ("10.5.2.13900-12", Release(10, 5, 2)),
            ("11.5(1)SU1", Release(11, 5, 1)),
            ("12.5(1)SU3", Release(12, 5, 1)),
            ("12.5(1)su3", Release(12, 5, 1)),
            ("12.5.1.13900-152", Release(12, 5, 1)),
            ("14", Release(14)),
            ("14SU2", Release(14)),
            ("14.0.1.12900-161", Release(14, 0, 1)),
            ("15", Release(15)),
            ("15SU1a", Release(15)),
            (" 15.0.1 ", Release(15, 0, 1)),
        ],
    )
    def test_all_the_ways_cisco_writes_one(self, text: str, release: Release) -> None:
        assert Release.parse(text) == release

    @pytest.mark.parametrize("text", ["9.1", "9.1(2)", "8.6.2", "16", "16.0", "99"])
    def test_releases_without_tokenless_trust_or_not_yet_known_are_refused(self, text: str) -> None:
        with pytest.raises(ReleaseUnknownError, match=r"outside 10\.0 to 15"):
            Release.parse(text)

    @pytest.mark.parametrize("text", ["", "latest", "v12", "12.x", "12,5", "-12", "12.5(1", "12.5.1)", "12.5()", "SU2"])
    def test_what_is_no_number_is_refused(self, text: str) -> None:
        with pytest.raises(ReleaseUnknownError, match="is not a release number"):
            Release.parse(text)

    @given(st.text(max_size=20))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            assert Release(10) <= Release.parse(text) < Release(16)
        except ReleaseUnknownError:
            return


class TestWriting:
    @pytest.mark.parametrize(
        "text", ["10.0", "10.0.1", "10.5.2", "11.5.1", "12.0", "12.5", "12.5.1", "14", "14.0.1", "15"]
    )
    def test_the_short_form_is_cisco_s(self, text: str) -> None:
        assert str(Release.parse(text)) == text

    @given(st.builds(Release, st.integers(10, 15), st.integers(0, 99), st.integers(0, 99)))
    def test_what_is_written_is_read_again(self, release: Release) -> None:
        assert Release.parse(str(release)) == release


class TestOrder:
    def test_it_is_by_number_not_by_letters(self) -> None:
        texts = ["10.0", "10.0.1", "10.5.1", "10.5.2", "11.0", "11.5.1", "12.0", "12.5.1", "14", "15"]
        releases = [Release.parse(text) for text in texts]
        assert sorted(releases, reverse=True)[::-1] == releases
        assert len(set(releases)) == len(texts)


class TestWhatChangedWhen:
    @pytest.mark.parametrize(
        ("last_without", "first_with", "change"),
        [
            ("10.5(1)", "10.5(2)", "ctl_names_itl_recovery"),
            ("10.5(2)", "11.0(1)", "has_ec_twins"),
            ("11.5(1)", "12.0(1)", "itl_recovery_signs"),
            ("12.5(1)", "14", "trust_file_names_carry_serial"),
        ],
    )
    def test_it_comes_with_one_release_and_stays(self, last_without: str, first_with: str, change: str) -> None:
        assert not getattr(Release.parse(last_without), change)
        assert getattr(Release.parse(first_with), change)
        assert getattr(Release.parse("15"), change)
        assert not getattr(Release(10), change)

    def test_a_remedy_names_releases_that_are_known(self) -> None:
        remedy = ReleaseUnknownError.remedy
        for text in ("10.5.2", "11.5.1", "12.0", "12.5.1", "14", "15"):
            assert text in remedy
            Release.parse(text)
