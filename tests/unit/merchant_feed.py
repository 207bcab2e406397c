"""What Google's help says of a tab-delimited feed, as a check of a whole file; the product does not use it.

Written from the pages that services/client/merchant_center.py names.
"""

import csv
import unicodedata
from collections.abc import Iterator, Mapping
from io import StringIO

LENGTHS = {
    "id": (1, 50),
    "color": (1, 100),
    "product_type": (0, 750),
    "material": (0, 200),
    "pattern": (0, 100),
    "size": (1, 100),
    "google_product_category": (1, 750),
}
SUPPORTED = {
    "gender": {"male", "female", "unisex"},
    "age_group": {"newborn", "infant", "toddler", "kids", "adult"},
}
# From the page about color: values that are no color.
NO_COLOR = {"multicolor", "various", "variety", "men's", "women's", "n/a"}


def problems(text: str) -> list[str]:
    """What Google would complain of in a feed; nothing if it is good."""
    rows = list(csv.reader(StringIO(text, newline=""), delimiter="\t", strict=True))
    if not rows:
        return ["the file has no header"]
    header, items = rows[0], rows[1:]
    found = [f"there is no attribute {name}" for name in header if name not in LENGTHS | SUPPORTED]
    if header[:1] != ["id"] or len(set(header)) < len(header):
        found.append("the header must have id, and each attribute once")
    if any(len(item) != len(header) for item in items):
        return [*found, "an item has more or fewer values than the header has names"]
    ids = [item[0].lower() for item in items]
    found += [f"the id {each} comes twice" for each in sorted(set(ids)) if ids.count(each) > 1]
    for item in items:
        values = dict(zip(header, item, strict=True))
        if not any(item[1:]):
            found.append("an item has nothing but an id")
        found += _of_item({name: value for name, value in values.items() if value or name == "id"})
    return found


def _of_item(values: Mapping[str, str]) -> Iterator[str]:
    for name, value in values.items():
        # Control, function, private-area and surrogate characters, and code points that are not assigned.
        if any(unicodedata.category(letter) in ("Cc", "Cf", "Co", "Cs", "Cn") for letter in value):
            yield f"{name}: invalid characters in {value!r}"
        if value != value.strip():
            yield f"{name}: blanks around {value!r}"
        if name in SUPPORTED and value not in SUPPORTED[name]:
            yield f"{name}: {value!r} is not supported"
        least, most = LENGTHS.get(name, (1, 100))
        if not least <= len(value) <= most:
            yield f"{name}: {len(value)} characters"
    # Marks of scripts such as Devanagari are part of their letters.
    if any(unicodedata.category(letter)[0] not in "LMN" and letter not in "_-" for letter in values["id"]):
        yield f"id: {values['id']!r} is not alphanumeric"
    if "color" in values:
        yield from _of_color(values["color"])
    if "," in values.get("product_type", ""):
        yield "product_type: a comma within a value"
    if values.get("material", "").count("/") > 2:
        yield "material: more than three"


def _of_color(value: str) -> Iterator[str]:
    colors = value.split("/")
    if len(colors) > 3:
        yield "color: more than three"
    for color in colors:
        if not 1 <= len(color) <= 40:
            yield f"color: {len(color)} characters"
        if color.isdecimal():
            yield f"color: {color} is a number"
        if len(color) == 1 and color.isascii():
            yield f"color: {color} is one letter"
        if color.lower() in NO_COLOR or "#" in color or "," in color:
            yield f"color: {color} is no color"
