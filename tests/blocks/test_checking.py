"""Servers are told apart by their versions, as they write them."""

import pytest

from blocks.checking import is_too_old


@pytest.mark.parametrize(
    "version", ["8.0.36", "8.4.0-log", "9.1.0", "10.6.18-MariaDB", "10.11.6-MariaDB-0+deb12u1", "11.4.2-MariaDB"]
)
def test_versions_that_are_known_to_work(version):
    assert not is_too_old(version)


@pytest.mark.parametrize("version", ["8.0.16", "5.7.44-log", "5.6.51", "10.5.23-MariaDB", "5.5.68-MariaDB"])
def test_versions_that_lack_what_is_needed(version):
    assert is_too_old(version)
