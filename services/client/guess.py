"""`vitrine catalogue init`: what the columns of a table probably mean, and what is doubtful about it."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import yaml

from services.shared.catalogue import PHOTO_SUFFIXES, decimal, is_date
from services.shared.catalogue_config import Attribute, CatalogueConfig, Photos
from services.shared.catalogue_files import known
from services.shared.events import MAX_PRODUCT_ID
from services.shared.https_photos import host_of
from services.shared.table_files import TableFile, Value

MOST_LABELS = 1_000  # of an attribute; with more, a column is text
LEAST_REPEATS = 3  # products that have a value of an attribute, on average
MOST_WORDS = 6  # of a value of an attribute, on average
CERTAIN = 0.995  # share of rows that must follow a rule; catalogues have mistakes
MOST_HOSTS = 10  # of photos, that a doubt names
SEPARATORS = ("|", ";", ",", "/")

_ID_NAMES = (
    "id",
    "productid",
    "sku",
    "asin",
    "uuid",
    "gtin",
    "ean",
    "upc",
    "articleid",
    "itemid",
    "image",
    "code",
)
_DISPLAY_NAMES = ("productdisplayname", "displayname", "title", "productname", "name", "description")
_PHOTO_NAMES = ("image", "img", "photo", "picture")
_TIME_NAMES = ("year", "date", "season", "created", "published", "launch")


class GuessError(Exception):
    """No column can be the id, or none an attribute; the message says so in one line."""


@dataclass(frozen=True)
class Guess:
    """What a table's columns probably mean.

    Args:
        config: the guess.
        doubts: field of the config -> what to check, in a sentence; `ignored` for columns that it leaves out.

    """

    config: CatalogueConfig
    doubts: Mapping[str, Sequence[str]]

    def to_yaml(self) -> str:
        """The text of a catalogue.yaml, with the doubts as comments."""
        lines = []
        document = self.config.model_dump(exclude_none=True, exclude_defaults=True)
        document["photos"] = self.config.photos.model_dump(exclude_defaults=True)
        for name, value in document.items():
            lines += [f"# {doubt}" for doubt in self.doubts.get(name, ())]
            if name != "attributes":
                lines += _dumped({name: value})
                continue
            lines.append("attributes:")
            for attribute, meaning in value.items():
                lines += [f"  # {doubt}" for doubt in self.doubts.get(f"attributes.{attribute}", ())]
                shown = yaml.safe_dump(meaning, default_flow_style=True, sort_keys=False, width=1_000).strip()
                lines.append(f"  {attribute}: {shown}")
        lines += [f"# {doubt}" for doubt in self.doubts.get("ignored", ())]
        return "\n".join(lines) + "\n"


def _dumped(content: Mapping[str, object]) -> list[str]:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1_000).splitlines()


@dataclass(frozen=True)
class _Column:
    """A column and its known values, of which a cell may have several."""

    name: str
    cells: Sequence[Value]  # of each row

    @cached_property
    def texts(self) -> Sequence[str]:
        """The known values of cells that have one."""
        return [text for cell in self.cells if not isinstance(cell, list) and (text := known(cell))]

    @cached_property
    def counts(self) -> Counter[str]:
        return Counter(self.texts)

    @cached_property
    def lists(self) -> bool:
        """Whether cells are lists."""
        return any(isinstance(cell, list) for cell in self.cells)

    @property
    def key(self) -> str:
        """The name without what does not matter."""
        return re.sub(r"[^a-z0-9]", "", self.name.casefold())

    def share(self, rule: Callable[[str], object]) -> float:
        """The share of known values that follow a rule; 0 where there is none."""
        return sum(count for text, count in self.counts.items() if rule(text)) / max(1, self.counts.total())

    def rank(self, names: Sequence[str]) -> int:
        """The place of the name in a list of usual ones; the list's length where it is not usual."""
        return next((place for place, name in enumerate(names) if self.key == name), len(names))


@dataclass
class _Doubts:
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, place: str, doubt: str) -> None:
        self.found.setdefault(place, []).append(doubt)


def guess(table: TableFile, ids: Collection[str] | None = None) -> Guess:
    """Guess what the columns of a table mean.

    Args:
        table: at least one row.
        ids: the columns that can be the id. Default: any.

    Raises:
        GuessError: no column has a different value in each row, or no column repeats its values.

    """
    columns = [_Column(name, [row.values.get(name) for row in table.rows]) for name in table.columns]
    doubts = _Doubts()
    own = _id([each for each in columns if ids is None or each.name in ids], doubts)
    left = [each for each in columns if each is not own]
    photos = _photos(left, own, doubts)
    left = [each for each in left if photos.column != each.name]
    name = _display_name(left)
    left = [each for each in left if each is not name]
    attributes: dict[str, Attribute] = {}
    by_name: dict[str, _Column] = {}
    ignored = []
    for column in left:
        meaning = _attribute(column)
        if meaning is None:
            ignored.append(column.name)
            continue
        attribute = _attribute_name(column.name, attributes)
        attributes[attribute] = meaning.model_copy(
            update={"column": None if attribute == column.name else column.name}
        )
        by_name[attribute] = column
    if not any(each.type in ("value", "values") for each in attributes.values()):
        raise GuessError(
            f"no column can be an attribute: expected one with at most {MOST_LABELS} values, each of "
            f"{LEAST_REPEATS} products on average"
        )
    if ignored:
        doubts.add("ignored", f"Not used: {', '.join(ignored)}.")
    _add_parents(attributes, by_name, doubts)
    time = _time(attributes, by_name, doubts)
    config = CatalogueConfig(
        id=own.name,
        display_name=name.name if name else None,
        photos=photos,
        attributes=attributes,
        time=time,
    )
    return Guess(config, doubts.found)


def _id(columns: Sequence[_Column], doubts: _Doubts) -> _Column:
    """The column of ids: a different value in each row; usual names come first, then the file's order."""
    able = [
        each
        for each in columns
        if not each.lists
        and len(each.counts) >= CERTAIN * len(each.cells)
        and each.share(lambda text: len(text) <= MAX_PRODUCT_ID and "\n" not in text) == 1
    ]
    if not able:
        raise GuessError("no column can be the id: expected one that has a different value in each row")
    chosen, *others = sorted(able, key=lambda each: each.rank(_ID_NAMES))
    if twice := [text for text, count in chosen.counts.items() if count > 1]:
        doubts.add("id", f"{len(twice)} ids come more than once, such as {twice[0]!r}; the first row counts.")
    if missing := len(chosen.cells) - chosen.counts.total():
        doubts.add("id", f"{missing} rows have no id and are left out.")
    if others and chosen.rank(_ID_NAMES) == len(_ID_NAMES):
        doubts.add("id", f"These columns could be the id as well: {', '.join(each.name for each in others)}.")
    return chosen


def _photos(columns: Sequence[_Column], own: _Column, doubts: _Doubts) -> Photos:
    def is_photo(text: str) -> bool:
        path = re.split(r"[?#]", text)[0].lower()
        return path.endswith(PHOTO_SUFFIXES) or text.startswith("gs://")

    def texts(column: _Column) -> Sequence[str]:
        return [
            *(str(text) for cell in column.cells if isinstance(cell, list) for text in cell),
            *column.texts,
        ]

    def share(column: _Column) -> float:
        named = any(part in column.key for part in _PHOTO_NAMES)
        able = [is_photo(text) or (named and text.startswith("https://")) for text in texts(column)]
        return sum(able) / max(1, len(able))

    able = [each for each in columns if share(each) >= 0.5]
    if not able:
        return Photos(pattern="images/{id}")
    if len(able) > 1:
        names = ", ".join(each.name for each in able[1:])
        doubts.add("photos", f"These columns have photos, too: {names}. Only one column is read.")
    chosen = max(able, key=share)
    hosts = Counter(host for text in texts(chosen) if (host := host_of(text)))
    if hosts:
        listed = ", ".join(host for host, _ in hosts.most_common(MOST_HOSTS))
        more = ", ..." if len(hosts) > MOST_HOSTS else ""
        doubts.add(
            "photos",
            f"{hosts.total()} photos are at web addresses. They are fetched only from hosts that you allow: "
            f"add hosts: [{listed}{more}] to photos.",
        )

    def separates(separator: str) -> bool:
        split = (text.split(separator) for text in chosen.texts)
        return any(len(parts) > 1 and all(is_photo(part.strip()) for part in parts) for parts in split)

    return Photos(column=chosen.name, separator=next(filter(separates, SEPARATORS), None))


def _display_name(columns: Sequence[_Column]) -> _Column | None:
    """Text that rarely repeats: a usual name, or several words."""
    able = [
        each
        for each in columns
        if not each.lists
        and each.texts
        and (each.rank(_DISPLAY_NAMES) < len(_DISPLAY_NAMES) or _words(each) > 2)
        and len(each.counts) > each.counts.total() / LEAST_REPEATS
        and each.share(decimal) < 0.5
    ]
    return min(able, key=lambda each: each.rank(_DISPLAY_NAMES), default=None)


def _attribute(column: _Column) -> Attribute | None:
    """What a column is as an attribute; None if it is none."""
    if column.lists:
        return Attribute(type="values")
    if not column.counts:
        return None
    if column.share(decimal) >= CERTAIN:
        # Whole numbers in a column such as brand_id name something.
        return None if column.key.endswith("id") else Attribute(type="number")
    if column.share(is_date) >= CERTAIN:
        return Attribute(type="date")
    if not _repeats(column.counts):
        return None
    if separator := _separator(column):
        return Attribute(type="values", separator=separator)
    return Attribute() if _words(column) <= MOST_WORDS and len(column.counts) > 1 else None


def _repeats(counts: Counter[str]) -> bool:
    return len(counts) <= MOST_LABELS and counts.total() >= LEAST_REPEATS * len(counts)


def _separator(column: _Column) -> str | None:
    """What separates several values in a cell: a sign, where the parts repeat more than the whole."""
    for separator in SEPARATORS:
        split = {text: [part.strip() for part in text.split(separator)] for text in column.counts}
        several = sum(column.counts[text] for text, parts in split.items() if len(parts) > 1)
        parts = {part for each in split.values() for part in each}
        if several >= 0.05 * column.counts.total() and all(parts) and len(parts) < len(split):
            return separator
    return None


def _add_parents(attributes: dict[str, Attribute], columns: Mapping[str, _Column], doubts: _Doubts) -> None:
    """Adds to each attribute the one that it determines; of several, the one with the most labels."""
    trees = [name for name, each in attributes.items() if each.type == "value"]
    for name in trees:
        able = [
            (len(columns[other].counts), other, share)
            for other in trees
            if 1 < len(columns[other].counts) < len(columns[name].counts)
            and (share := _determined(columns[name], columns[other])) >= CERTAIN
        ]
        if able:
            _labels, parent, share = max(able)
            attributes[name] = attributes[name].model_copy(update={"parent": parent})
            if share < 1:
                doubts.add(
                    f"attributes.{name}",
                    f"{1 - share:.2%} of the products have another {parent} than most of their {name}.",
                )


def _determined(child: _Column, parent: _Column) -> float:
    """The share of rows whose parent is the most frequent one of their child; 0 where rules are by chance."""
    pairs = Counter(
        (low, high)
        for one, other in zip(child.cells, parent.cells, strict=True)
        if (low := known(one)) and (high := known(other))
    )
    most: Counter[str] = Counter()
    for (low, _high), count in pairs.items():
        most[low] = max(most[low], count)
    # Of a label that one product has, anything is determined.
    repeated = Counter(low for (low, _high), count in pairs.items() for _ in range(count))
    if sum(1 for count in repeated.values() if count > 1) < len(repeated) / 2:
        return 0.0
    return most.total() / max(1, pairs.total())


def _time(attributes: Mapping[str, Attribute], columns: Mapping[str, _Column], doubts: _Doubts) -> str | None:
    able = [
        name
        for name, each in attributes.items()
        if each.type == "date"
        or (
            each.type == "number"
            and columns[name].share(lambda text: 1900 <= float(decimal(text) or 0) <= 2100) == 1
        )
    ]
    named = [name for name in able if any(part in columns[name].key for part in _TIME_NAMES)]
    chosen = next(iter([*named, *able]), None)
    if chosen is None:
        doubts.add(
            "attributes", "No column tells when a product was new; training then tests a random share."
        )
    elif len(able) > 1:
        doubts.add("time", f"Could be as well: {', '.join(name for name in able if name != chosen)}.")
    return chosen


def _attribute_name(column: str, taken: Iterable[str]) -> str:
    """The column's name in snake case, as BigQuery takes it."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column)
    name = re.sub(r"[^A-Za-z0-9]+", "_", words).strip("_").lower() or "attribute"
    name = f"_{name}" if name[0].isdigit() else name
    number, unique = 2, name
    while unique in taken:
        number, unique = number + 1, f"{name}_{number}"
    return unique


def _words(column: _Column) -> float:
    return sum(len(text.split()) * count for text, count in column.counts.items()) / max(
        1, column.counts.total()
    )
