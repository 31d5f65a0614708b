"""Durations as people type them."""

import pytest

from kdzoo.durations import seconds
from kdzoo.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("10min", 600), ("1.5h", 5400), (" 2 H ", 7200), ("1e3s", 1000), ("1d", 86400)],
)
def test_a_number_and_its_unit(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "10", "min", "-1s", "0s", "1..5h", "10m", "1h30min", "nans", "infs", "1e99h"]
)
def test_anything_else_is_refused_with_what_is_right(text):
    with pytest.raises(UserError, match="90s, 10min"):
        seconds(text)


def test_the_setting_says_where_it_is(kdzoo):
    done = kdzoo("config", "training.checkpoint_every=10")
    assert done.code == 2
    assert "training.checkpoint_every: This is no duration: '10'" in done.err
    assert "checkpoint_every: '10min'" in kdzoo("config").out
