import pytest

from services.local.cloud import LocalCloud
from tests.e2e.plain import Outsider


@pytest.fixture
def outsider(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Outsider:
    return Outsider(cloud, monkeypatch)
