"""The emulators, as Google's clients find them."""

from collections.abc import Iterator

import pytest

from services.local.cloud import LocalCloud


@pytest.fixture(scope="module")
def emulators(cloud: LocalCloud) -> Iterator[None]:
    """Google's clients find the local cloud."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        yield
