"""The filter language against a small evaluator of random expression trees."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.local.pubsub.errors import InvalidArgumentError
from services.local.pubsub.filters import MAX_BYTES, compile_filter

KEYS = ["domain", "count_2", "ce-type", "iana.org/language_tag", "AND", 'quo"ted', "ü", ""]
VALUES = ["", "com", "co", 'say "hi"', "back\\slash", "line\nbreak", "null\0", "größe"]


@dataclass(frozen=True)
class Comparison:
    operator: str  # ":", "=", "!=" or "hasPrefix"
    key: str
    value: str


@dataclass(frozen=True)
class Negation:
    sign: str
    term: "Tree"


@dataclass(frozen=True)
class Combination:
    operator: str
    terms: tuple["Tree", ...]


type Tree = Comparison | Negation | Combination


def holds(tree: Tree, attributes: Mapping[str, str]) -> bool:
    match tree:
        case Comparison(":", key, _):
            return key in attributes
        case Comparison("=", key, value):
            return attributes.get(key) == value
        case Comparison("!=", key, value):
            return attributes.get(key) != value
        case Comparison(_, key, value):
            return key in attributes and attributes[key].startswith(value)
        case Negation(_, term):
            return not holds(term, attributes)
        case Combination("AND", terms):
            return all(holds(term, attributes) for term in terms)
        case Combination(_, terms):
            return any(holds(term, attributes) for term in terms)


def quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\0": "\\x00"}
    return '"' + "".join(escapes.get(character, character) for character in text) + '"'


def written(tree: Tree, *, nested: bool = False) -> str:
    match tree:
        case Comparison(operator, key, value):
            name = key if key.isascii() and key.replace("-", "_").isidentifier() else quoted(key)
            if operator == ":":
                return f"attributes:{name}"
            if operator == "hasPrefix":
                return f"hasPrefix(attributes.{name}, {quoted(value)})"
            return f"attributes.{name} {operator} {quoted(value)}"
        case Negation(sign, term):
            return f"{sign}{written(term, nested=True)}"
        case Combination(operator, terms):
            text = f" {operator} ".join(written(term, nested=True) for term in terms)
            return f"({text})" if nested else text


comparisons = st.builds(
    Comparison, st.sampled_from([":", "=", "!=", "hasPrefix"]), st.sampled_from(KEYS), st.sampled_from(VALUES)
)
trees: st.SearchStrategy[Tree] = st.recursive(
    comparisons,
    lambda inner: (
        st.builds(Negation, st.sampled_from(["NOT ", "-", "- "]), inner)
        | st.builds(
            Combination,
            st.sampled_from(["AND", "OR"]),
            st.lists(inner, min_size=2, max_size=3).map(tuple),
        )
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(trees, st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES) | st.text(max_size=3)))
def test_a_filter_means_what_its_tree_means(tree: Tree, attributes: dict[str, str]) -> None:
    text = written(tree)
    assume(len(text.encode()) <= MAX_BYTES)
    assert compile_filter(text)(attributes) == holds(tree, attributes)


words = st.sampled_from(["attributes", "hasPrefix", "AND", "OR", "NOT", "a", '"b"', '"', "\\", "é"])
signs = st.sampled_from([":", ".", "=", "!=", "-", "(", ")", ",", " ", "\n"])


@settings(deadline=None)
@given(st.lists(words | signs, max_size=20).map("".join) | st.text(max_size=30))
def test_any_text_is_a_filter_or_an_invalid_argument(text: str) -> None:
    try:
        matches = compile_filter(text)
    except InvalidArgumentError:
        return
    assert matches({"a": "b"}) in (True, False)


def test_an_empty_filter_lets_everything_pass() -> None:
    assert compile_filter("")({})


@pytest.mark.parametrize("text", ["(" * 120 + "attributes:a" + ")" * 120, "-" * 244 + "attributes:a"])
def test_the_deepest_nesting_that_fits_is_read(text: str) -> None:
    assert compile_filter(text)({"a": ""})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("attributes:" + "x" * MAX_BYTES, "longer than 256 bytes"),
        ("attributes:a AND attributes:b OR attributes:c", "parentheses"),
        ("attributes.a = b", "quoted string expected, not 'b'"),
        ("attributes:a ?", "unexpected character at '?'"),
        ("attributes:a attributes:b", "unexpected 'attributes'"),
        ("attributes:", "ends too early"),
        ("label:a", "attributes or hasPrefix expected, not 'label'"),
    ],
)
def test_the_error_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"Invalid filter") as error:
        compile_filter(text)
    assert problem in str(error.value)
