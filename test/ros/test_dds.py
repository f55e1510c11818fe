"""The packaged Fast DDS profile."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from cldyn_ros.dds import PROFILE_VARIABLES, use_packaged_profile


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in PROFILE_VARIABLES:
        monkeypatch.setenv(name, "")
    return monkeypatch


def test_profile_is_packaged_and_large_enough(clean: pytest.MonkeyPatch) -> None:
    profile = use_packaged_profile()
    assert profile is not None
    sizes = [int(e.text or 0) for e in ElementTree.parse(profile).iter() if e.tag.endswith("segment_size")]
    assert sizes
    assert min(sizes) >= 16 << 20, "a 4 K image has to fit"


@pytest.mark.parametrize("name", PROFILE_VARIABLES)
def test_the_users_choice_stays(clean: pytest.MonkeyPatch, name: str) -> None:
    clean.setenv(name, "/etc/mine.xml")
    assert use_packaged_profile() is None
