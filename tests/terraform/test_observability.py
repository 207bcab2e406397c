"""Whether what happens in an environment is seen, and whether somebody is told."""

import subprocess
from pathlib import Path

import pytest

from tests.terraform.plans import ENVIRONMENTS, Plan, plan
from tests.terraform.rules import Rule
from tests.terraform.watching import WATCHING


@pytest.mark.parametrize("rule", WATCHING, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_watched(plans: dict[str, Plan], environment: str, rule: Rule) -> None:
    assert list(rule(plans[environment])) == []


def test_a_gpu_is_watched_where_it_was_asked_for(copy: Path) -> None:
    asked = plan(copy, "dev", gpu=True, alert_emails=["dev@example.com"])
    assert [wrong for rule in WATCHING for wrong in rule(asked)] == []


@pytest.mark.parametrize(
    ("environment", "emails", "expected"),
    [
        ("prod", [], "alert_emails: write at least one address"),
        ("staging", ["oncall"], "alert_emails: write e-mail addresses such as oncall@example.com"),
    ],
)
def test_wrong_addresses_are_refused_in_words(
    copy: Path, environment: str, emails: list[str], expected: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        plan(copy, environment, alert_emails=emails)
    assert expected in " ".join(refused.value.stderr.split())
