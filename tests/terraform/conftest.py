"""The environments' plans, made once for all tests of them."""

from pathlib import Path

import pytest

from tests.terraform.plans import ENVIRONMENTS, Plan, copied, plan


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("vitrine"))


@pytest.fixture(scope="session")
def plans(copy: Path) -> dict[str, Plan]:
    return {environment: plan(copy, environment) for environment in ENVIRONMENTS}
