"""What the properties share: the real embedded stores, opened once; each example has a collection of its own."""

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, settings

from blocks.settings import Settings
from blocks.stores import Storage, open_storage

settings.register_profile(
    "bounded", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("bounded")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with open_storage(Settings(tmp_path_factory.mktemp("stores") / "home", None)) as opened:
        yield opened


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"c{number}" for number in count(1))
