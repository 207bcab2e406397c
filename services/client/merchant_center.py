"""Corrections as a supplemental feed for Google Merchant Center: a tab-delimited file.

The rules are those of Google's help pages, https://support.google.com/merchants/answer/NUMBER, read in
November 2026: 7052112 (product data specification), 6324405 (id), 6324487 (color), 6324479 (gender), 6324463
(age_group), 6324406 (product_type), 6324436 (google_product_category), 6324410 (material), 6324483 (pattern),
6324492 (size), 160588 (tab-delimited files), 14998273 (quoted attributes), 7439882 (supplemental feeds).
"""

import csv
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import StringIO

from services.client.corrections import Correction, LeftOut
from services.shared.labels import normalised

MAX_ID = 50  # characters, as all limits here
MAX_COLOURS, MAX_COLOUR, MAX_COLOR = 3, 40, 100
MAX_MATERIALS = 3

# Catalogue attribute -> Google's. Several levels become one product type, the widest first.
ATTRIBUTES: Mapping[str, str] = {
    "gender": "gender",
    "age_group": "age_group",
    "base_colour": "color",
    "colour": "color",
    "color": "color",
    "master_category": "product_type",
    "sub_category": "product_type",
    "article_type": "product_type",
    "product_type": "product_type",
    "google_product_category": "google_product_category",
    "material": "material",
    "pattern": "pattern",
    "size": "size",
}
FEED_COLUMNS = tuple(dict.fromkeys(ATTRIBUTES.values()))

# What people call them -> Google's gender and, where the word tells it, age group.
_GENDERS: Mapping[str, Mapping[str, str]] = {
    word: {"gender": gender} | ({"age_group": age_group} if age_group else {})
    for words, gender, age_group in (
        (("men", "man", "male"), "male", "adult"),
        (("women", "woman", "female"), "female", "adult"),
        (("boys", "boy"), "male", "kids"),
        (("girls", "girl"), "female", "kids"),
        (("unisex",), "unisex", None),
    )
    for word in words
}
_AGE_GROUPS = ("newborn", "infant", "toddler", "kids", "adult")
_NO_COLOURS = {
    *("multi", "multicolor", "multicolour", "multicolored", "multicoloured", "various", "variety"),
    *("men's", "women's", "mens", "womens", "n/a", "na", "see image"),
}


class _RefusedError(Exception):
    """Google would refuse a value; the message says why, in a clause."""


@dataclass(frozen=True)
class Feed:
    """A supplemental feed.

    Args:
        text: the file, UTF-8 text with tabs.
        products: how many it has.
        left_out: the corrections that are not in it, because of Google's rules.

    """

    text: str
    products: int
    left_out: tuple[LeftOut, ...]


def feed(corrections: Iterable[Correction]) -> Feed:
    """The pending and the applied corrections as a supplemental feed.

    Merchant Center forgets what a supplemental feed no longer contains. So the applied ones stay in it.
    """
    current = [each for each in corrections if each.outdated is None]
    spellings = Counter(product_id.casefold() for product_id in {each.product_id for each in current})
    products: dict[str, dict[str, str]] = {}
    left_out = []
    # From the widest level to the narrowest.
    for each in sorted(current, key=lambda each: (each.product_id, _place(each.attribute))):
        try:
            if spellings[each.product_id.casefold()] > 1:
                raise _RefusedError("another product's id differs from this one only in case")
            _check_id(each.product_id)
            values = _values(each, products.get(each.product_id, {}))
        except _RefusedError as error:
            left_out.append(LeftOut(each, str(error)))
        else:
            products[each.product_id] = products.get(each.product_id, {}) | values
    return Feed(_tsv(products), len(products), tuple(left_out))


def _place(attribute: str) -> int:
    return list(ATTRIBUTES).index(attribute) if attribute in ATTRIBUTES else len(ATTRIBUTES)


def _tsv(products: Mapping[str, Mapping[str, str]]) -> str:
    used = {name for row in products.values() for name in row}
    columns = [name for name in FEED_COLUMNS if name in used]
    buffer = StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(["id", *columns])
    for product_id, row in products.items():
        writer.writerow([product_id, *(row.get(name) for name in columns)])
    return buffer.getvalue()


# ------------------------------------------------------------------------------------- Google's rules


def _values(correction: Correction, wider: Mapping[str, str]) -> dict[str, str]:
    """Google's attributes and values for a correction.

    Args:
        correction: what to put in a product's row.
        wider: what is in the row so far: with wider levels of its product type, if there are any.

    Raises:
        _RefusedError: Google has no such attribute, or would refuse the value.

    """
    name = ATTRIBUTES.get(correction.attribute)
    if name is None:
        raise _RefusedError("Google Merchant Center has no such attribute")
    value = correction.corrected.strip()
    _check_characters(value, correction.attribute)
    if name == "product_type" and name in wider:
        value = f"{wider[name]} > {value}"
    return dict(_RULES[name](value))


def _check_id(product_id: str) -> None:
    _check_length("id", product_id, MAX_ID)
    _check_characters(product_id, "id")
    if not all(_is_word(letter) or letter in "_-" for letter in product_id):
        raise _RefusedError("id: only letters, digits, underscores and dashes are allowed")


def _check_characters(value: str, name: str) -> None:
    """Controls, format characters, private and unassigned code points; those beyond 16 bits are pairs."""
    for letter in value:
        if unicodedata.category(letter).startswith("C") or ord(letter) > 0xFFFF:
            raise _RefusedError(f"{name}: the character U+{ord(letter):04X} is not allowed")


def _check_length(name: str, value: str, most: int) -> None:
    if not 1 <= len(value) <= most:
        raise _RefusedError(f"{name}: expected 1 to {most} characters (got {len(value)})")


def _is_word(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LMN"


def _gender(value: str) -> Mapping[str, str]:
    found = _GENDERS.get(normalised(value))
    if found is None:
        raise _RefusedError(f"gender: expected male, female or unisex (got {value!r})")
    return found


def _age_group(value: str) -> Mapping[str, str]:
    found = normalised(value)
    if found not in _AGE_GROUPS:
        raise _RefusedError(f"age_group: expected one of {', '.join(_AGE_GROUPS)} (got {value!r})")
    return {"age_group": found}


def _color(value: str) -> Mapping[str, str]:
    if normalised(value) in _NO_COLOURS:
        raise _RefusedError(f"color: {value!r} is not a color")
    colours = [colour.strip() for colour in value.split("/")]
    if len(colours) > MAX_COLOURS:
        raise _RefusedError(f"color: expected at most {MAX_COLOURS} colors (got {len(colours)})")
    for colour in colours:
        _check_length("color: each color", colour, MAX_COLOUR)
        if not all(_is_word(letter) or letter in " -'" for letter in colour):
            raise _RefusedError(f"color: only letters and digits are allowed (got {colour!r})")
        if not any(unicodedata.category(letter).startswith("L") for letter in colour):
            raise _RefusedError(f"color: a number is not a color (got {colour!r})")
        # A sign of Chinese, Japanese or Korean is a word.
        if len(colour) == 1 and unicodedata.category(colour) != "Lo":
            raise _RefusedError(f"color: one letter is not a color (got {colour!r})")
        if normalised(colour) in _NO_COLOURS:
            raise _RefusedError(f"color: {colour!r} is not a color")
    color = "/".join(colours)
    _check_length("color", color, MAX_COLOR)
    return {"color": color}


def _product_type(value: str) -> Mapping[str, str]:
    if "," in value:
        raise _RefusedError("product_type: a comma would separate two product types")
    _check_length("product_type", value, 750)
    return {"product_type": value}


def _google_product_category(value: str) -> Mapping[str, str]:
    if not (value.isascii() and value.isdigit()):
        raise _RefusedError(
            f"google_product_category: expected the number of one of Google's categories (got {value!r})"
        )
    return {"google_product_category": value}


def _material(value: str) -> Mapping[str, str]:
    _check_length("material", value, 200)
    if value.count("/") >= MAX_MATERIALS:
        raise _RefusedError(f"material: expected at most {MAX_MATERIALS} materials")
    return {"material": value}


def _text(name: str, most: int) -> Callable[[str], Mapping[str, str]]:
    def checked(value: str) -> Mapping[str, str]:
        _check_length(name, value, most)
        return {name: value}

    return checked


_RULES: Mapping[str, Callable[[str], Mapping[str, str]]] = {
    "gender": _gender,
    "age_group": _age_group,
    "color": _color,
    "product_type": _product_type,
    "google_product_category": _google_product_category,
    "material": _material,
    "pattern": _text("pattern", 100),
    "size": _text("size", 100),
}
