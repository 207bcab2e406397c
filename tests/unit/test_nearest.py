"""The name that somebody probably meant."""

import pytest

from services.shared.nearest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("BLOUS", ["Blouse", "Body"], "; did you mean 'Blouse'?"),
        ("xyz", ["Body", "Blouse"], "; expected one of Body, Blouse"),
        ("", ["Body"], "; expected one of Body"),
        ("x", [], ""),
        ("x", [f"label-{number:02}" for number in range(40)], "; expected one of label-00, label-01"),
    ],
)
def test_the_nearest_name_is_offered_or_else_what_there_is(name: str, known: list[str], hint: str) -> None:
    assert did_you_mean(name, known).startswith(hint)
    assert len(did_you_mean(name, known)) < 400


def test_case_makes_no_name_farther() -> None:
    assert nearest("women", ["MEN", "WOMEN"]) == "WOMEN"
