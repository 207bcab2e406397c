"""A catalogue as training data: heads from its columns, photos from the bucket, split by time and product.

The rows are streamed several times and the photos once, so that memory hardly grows with the catalogue: by
some 90 bytes a product, for the ids of the photos that there are and for finding near-duplicates.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import batched, chain, groupby
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.model.duplicates import Signature, signature
from services.model.learnt import photo_digest
from services.model.preprocessing import to_array
from services.shared.catalogue_config import CatalogueConfig
from services.shared.errors import ImageError, ImageErrorCode, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import AttributeValue, Filters, Product
from services.shared.images import MAX_BYTES, decode
from services.shared.jobs import photo_uris
from services.shared.labels import NOT_APPLICABLE, SEPARATOR, split
from services.shared.layout import digest, photo_uri, photos_prefix
from services.shared.parallel import in_parallel
from services.shared.ports import Catalogue, Stored
from services.training.examples import UNKNOWN, UNLEARNT, Example, LeftOut, Side
from services.training.sides import Sides

TEST_SHARE = 0.15  # of the products with a year, where `test_from` is not given
PHOTOS_AT_ONCE = 128  # in memory, decoded
LISTED = 5  # ids, of products that are left out


type Judged = Mapping[str, Mapping[str, str | None]]


class DatasetError(ValueError):
    """Nothing can be learnt or tested from these products; the message says what it takes."""


class Photos(Protocol):
    """What is needed of Cloud Storage."""

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:
        """As `services.shared.ports.Objects.read`."""
        ...

    def names(self, prefix: str) -> Sequence[str]:
        """As `services.shared.ports.Objects.names`."""
        ...


@dataclass(frozen=True)
class TestSide:
    """Which products test.

    Args:
        from_year: those of this year and later, so that a model is tested with collections that came after
            those it knows.
        odd_years: those of odd years, as the published figures of Fashion Product Images have it.
        share: a share of all products, drawn by a digest of their ids.

    With none of them, the newest products test, about `TEST_SHARE` of those that have a year. Of a catalogue
    without a column of time, a random share tests.
    """

    from_year: int | None = None
    odd_years: bool = False
    share: float | None = None

    @property
    def by_newest(self) -> bool:
        """Whether the first year that tests is still to be chosen."""
        return self.from_year is None and not self.odd_years and self.share is None

    def __str__(self) -> str:
        if self.share is not None:
            return f"a random {self.share:.0%} of the products"
        return "odd years" if self.odd_years else f"from {self.from_year} on"

    def has(self, year: int | None, drawn: bool) -> bool:
        """Whether a product of a year tests; `drawn` is whether the digest of its id fell into the share."""
        if self.share is not None:
            return drawn
        if year is None:
            return False
        return year % 2 == 1 if self.odd_years else self.from_year is not None and year >= self.from_year


class CatalogueSource:
    """The products that match filters, as examples: a `services.training.examples.Source`.

    `TestSide` says which products test. All others, those without a year too, train, but for the share that a
    digest of their ids draws: they validate. So the side depends on nothing but the product's id and year;
    only a near-duplicate of a photo that is on another side goes there, and is left out if there are two.

    Each photo of a product is an example, all of them on the side of its first photo. A further photo that is
    a near-duplicate of one on another side, such as a size chart, is left out.

    A head has the labels with at least `minimum_photos` photos that train: the other sides have no say in
    what is learnt. Other labels are UNLEARNT; where the catalogue gives none it is UNKNOWN. A column that is
    left with fewer than two labels is no head, and a product without a known label of any head no example.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        photos: Photos,
        bucket: str,
        filters: Filters,
        *,
        selection_id: str,
        minimum_photos: int,
        validate_share: float,
        test: TestSide,
        read_from: Mapping[str, str],
        judged: Judged = MappingProxyType({}),
        left_out: Sequence[LeftOut] = (),
        origin: str = "photo",
        sides: Sides | None = None,
    ) -> None:
        """Select the products and count their labels; no photo is fetched.

        Args:
            catalogue: has the rows.
            photos: Cloud Storage.
            bucket: where the photos are.
            filters: which products.
            selection_id: names the selection as `Catalogue.select` has it; BigQuery forgets it after a day.
            minimum_photos: that train, of each label that is learnt. One it takes in any case.
            validate_share: of the products that do not test, from 0 to 1.
            test: which products test.
            read_from: where the rows come from, for the description.
            judged: what people say of products: id -> column -> the label; it takes the place of the row's.
                None: there is no telling, so that the label is UNKNOWN. The filters see the row as it is.
            left_out: what did not even become a row.
            origin: of the examples.
            sides: where the pictures of other sources are, so that no picture is on two sides.

        Raises:
            DatasetError: no product matches, none has a photo, none trains or tests, or there is no head.

        """
        self._photos, self._bucket = photos, bucket
        self._config = catalogue.config
        self._judged = judged
        self._validate_share = validate_share
        self._origin = origin
        self._sides = sides
        chosen_here = test.by_newest
        if chosen_here and self._config.time is None:
            test = TestSide(share=TEST_SHARE)
        self._test = test
        self._minimum_photos = max(1, minimum_photos)
        self._selection = catalogue.select(selection_id, filters)
        self._with_photo = _photos(photos, bucket)
        chosen = filters.model_dump_json(exclude_defaults=True)
        census = self._census()
        if not census.photos:
            where = f"{photos_prefix(bucket)}<product_id>.jpg"
            raise DatasetError(
                f"{self._selection.total} products match the filters {chosen}, none has a photo {where}"
            )
        self._split = _Split(TestSide(_test_from(census)) if test.by_newest else test)
        _check_sides(census, self._split)
        self.heads, unlearnt = _heads(census, self._split, self._minimum_photos, self._config.named("value"))
        self.several, others = _heads(
            census, self._split, self._minimum_photos, self._config.named("values"), several=True
        )
        unlearnt = [*unlearnt, *others]
        _check_heads(census, self._split, self.heads, unlearnt, self._minimum_photos)
        self.applies_to = _dependences(self._config, self.heads, {**self.heads, **self.several})
        self._counted = [
            *left_out,
            *census.missing.left_out(f"photo-missing, of {self._selection.total} products"),
            *census.undated.left_out("no year: they test nothing"),
            *(
                entry
                for name, products in census.contradicting.items()
                for entry in products.left_out(f"a {name}, which does not apply to them: not learnt")
            ),
            *unlearnt,
        ]
        self._found: Sequence[LeftOut] = ()
        self.description = {
            **read_from,
            "filters": chosen,
            "selection": selection_id,
            "products": str(self._selection.total),
            "with a photo": str(census.photos),
            "test": f"{self._split.test}{', chosen' if chosen_here else ''}",
            "validate_share": str(validate_share),
            "minimum_photos": str(minimum_photos),
            "labels by people": str(sum(len(self._known(truth)) for truth in judged.values())),
        }

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What takes no part, or less than it seems; complete when `examples` has been read to its end."""
        return [*self._counted, *self._found]

    def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
        """Streams first the products that train, then those that validate, then those that test.

        In this order a photo is known before its near-duplicates of another side are met: of those that would
        test, some come out as training examples. Among those of one side the order is the selection's.

        Raises:
            DatasetError: of the photos that train, or of those that test, none can be used.

        """
        sides, findings = self._sides if self._sides is not None else Sides(), _Findings()
        for own in _ORDER:
            for labelled, photos in self._usable(own, image_size, findings):
                product = labelled.product
                side = sides.place(photos[0].signature, own)
                if side != own:
                    findings.moved[own, side].add(product)
                if side is None:
                    continue
                for photo in photos:
                    if photo is not photos[0] and sides.place(photo.signature, side) != side:
                        findings.shared.add(product)
                        continue
                    findings.examples[side] += 1
                    if side == "train":
                        findings.trained.update(labelled.shown())
                    yield (
                        side,
                        Example(
                            product.product_id,
                            photo.pixels,
                            labelled.labels,
                            self._origin,
                            self._year(product),
                            photo.digest,
                            labelled.several,
                        ),
                    )
        self._found = list(findings.left_out({**self.heads, **self.several}, self._minimum_photos))
        if not (findings.examples["train"] and findings.examples["test"]):
            reasons = "; ".join(f"{each.what} ({each.count}): {each.why}" for each in self._found)
            raise DatasetError(f"no photo is left to train or to test with. {reasons}")

    def _rows(self) -> Iterator[Product]:
        for product in self._selection.rows(0, self._selection.total):
            truth = self._judged.get(product.product_id)
            yield product.with_values(self._values(truth)) if truth else product

    def _values(self, truth: Mapping[str, str | None]) -> Mapping[str, AttributeValue]:
        several = self._config.named("values")
        return {
            name: split(label) if label is not None and name in several else label
            for name, label in self._known(truth).items()
        }

    def _known(self, truth: Mapping[str, str | None]) -> Mapping[str, str | None]:
        """Of what people say, what the catalogue has an attribute for; a model may have other heads."""
        known = self._config.named("value", "values")
        return {name: label for name, label in truth.items() if name in known}

    def _labels(self, name: str, product: Product) -> tuple[str, ...]:
        """What is to be learnt of an attribute; what people say of it counts even if it should not apply."""
        if name in self._judged.get(product.product_id, {}):
            return product.values(name)
        return self._config.labels(name, product)

    def _label(self, name: str, product: Product) -> str | None:
        return next(iter(self._labels(name, product)), None)

    def _targets(self, product: Product) -> Mapping[str, Sequence[int]]:
        """Of the heads of several labels that the catalogue says something of, which labels are there.

        What it does not list is not there. Where it lists a label that is not learnt, nothing is known: the
        photo shows something that no answer has.
        """
        found = {}
        for head, labels in self.several.items():
            values = {*self._labels(head, product)}
            if values and values <= {*labels}:
                found[head] = [int(label in values) for label in labels]
        return found

    def _year(self, product: Product) -> int | None:
        time = self._config.time and product.value(self._config.time)
        # A date begins with its year.
        return int(time[:4]) if time and time[:4].isdecimal() else None

    def _has_photo(self, product: Product) -> bool:
        if product.photos:
            return True  # it may be in another bucket, which is not listed
        photo = np.uint64(_hash(photo_uri(self._bucket, product.product_id)))
        place = np.searchsorted(self._with_photo, photo)
        return bool(place < len(self._with_photo) and self._with_photo[place] == photo)

    def _kind(self, product: Product) -> "_Kind":
        def drawn(name: str, share: float) -> bool:
            return int(digest(name, product.product_id)[:8], 16) / 2**32 < share

        return (
            self._year(product),
            drawn("test", self._test.share or 0),
            drawn("validate", self._validate_share),
        )

    def _census(self) -> "_Census":
        census = _Census(self._config.named("value", "values"))
        for product in self._rows():
            if not self._has_photo(product):
                census.missing.add(product)
                continue
            if self._year(product) is None and self._test.share is None:
                census.undated.add(product)
            kind = self._kind(product)
            census.kinds[kind] += 1
            for column, labels in census.labels.items():
                found = self._labels(column, product)
                # An attribute of one value has one, whatever its cell says.
                for label in {*found} if self._config.attributes[column].type == "values" else found[:1]:
                    labels[label][kind] += 1
                if not found and self._config.contradicts(column, product):
                    census.contradicting[column].add(product)
        return census

    def _labelled(self, side: Side, findings: "_Findings") -> Iterator["_Labelled"]:
        """The products of a side that have a photo, with a known label at least."""
        indices = {
            head: {label: index for index, label in enumerate(labels)} for head, labels in self.heads.items()
        }
        for product in self._rows():
            if self._split.side(self._kind(product)) != side or not self._has_photo(product):
                continue
            labels = {
                head: index.get(label, UNLEARNT) if (label := self._label(head, product)) else UNKNOWN
                for head, index in indices.items()
            }
            several = self._targets(product)
            # A product that tests counts even so: the model cannot be right.
            known = several or max(labels.values()) >= 0
            if not known and not (side == "test" and UNLEARNT in labels.values()):
                findings.unlabelled.add(product)
            else:
                yield _Labelled(product, labels, several)

    def _usable(
        self, side: Side, image_size: int, findings: "_Findings"
    ) -> Iterator[tuple["_Labelled", Sequence["_Photo"]]]:
        """The labelled products of a side with those of their photos that can be used, at least one."""
        photos = (
            (labelled, uri)
            for labelled in self._labelled(side, findings)
            for uri in photo_uris(self._bucket, labelled.product)
        )
        read = chain.from_iterable(
            zip(batch, in_parallel(lambda item: self._photo(item[1], image_size), batch), strict=True)
            for batch in batched(photos, PHOTOS_AT_ONCE, strict=False)
        )
        for _, grouped in groupby(read, key=lambda pair: pair[0][0].product.product_id):
            of_product = [*grouped]
            (labelled, _), _ = of_product[0]
            for _, photo in of_product:
                if not isinstance(photo, _Photo):
                    findings.unusable[photo].add(labelled.product)
            if usable := [photo for _, photo in of_product if isinstance(photo, _Photo)]:
                yield labelled, usable

    def _photo(self, uri: str, image_size: int) -> "_Photo | ImageErrorCode":
        try:
            stored = self._photos.read(uri, max_bytes=MAX_BYTES)
            image = decode(stored.data, about=image_size)
        except ObjectNotFoundError:
            return "photo-missing"  # it was there when they were listed
        except ObjectTooLargeError:
            return "photo-too-large"
        except ImageError as unusable:
            return unusable.code
        return _Photo(to_array(image, image_size), signature(image), photo_digest(stored.data))


_ORDER: tuple[Side, ...] = ("train", "validate", "test")

# What decides the side of a product: its year, whether it was drawn to test, and to validate.
type _Kind = tuple[int | None, bool, bool]


@dataclass(frozen=True)
class _Photo:
    pixels: NDArray[np.uint8]
    signature: Signature
    digest: int


@dataclass(frozen=True)
class _Labelled:
    """A product and what is known of it."""

    product: Product
    labels: Mapping[str, int]  # head of one label -> its class
    several: Mapping[str, Sequence[int]]  # head of several labels -> [classes], 1 where it has the label

    def shown(self) -> Iterator[tuple[str, int]]:
        """The heads and classes that its photos are examples of."""
        yield from self.labels.items()
        for head, targets in self.several.items():
            yield from ((head, place) for place, target in enumerate(targets) if target == 1)


@dataclass(frozen=True)
class _Split:
    test: TestSide

    def side(self, kind: _Kind) -> Side:
        year, tests, validates = kind
        if self.test.has(year, tests):
            return "test"
        return "validate" if validates else "train"

    def sides(self, kinds: Counter[_Kind]) -> Counter[Side]:
        sides: Counter[Side] = Counter()
        for kind, count in kinds.items():
            sides[self.side(kind)] += count
        return sides


class _Products:
    """How many products they are, and the first few of their ids."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, product: Product) -> None:
        self.count += 1
        if self.count <= LISTED:
            self._first.append(product.product_id)

    def left_out(self, why: str) -> Sequence[LeftOut]:
        """One entry for all of them, or none if there are none."""
        more = ", ..." if self.count > LISTED else ""
        what = f"products {', '.join(self._first)}{more}"
        return [LeftOut(what, self.count, why)] if self.count else []


class _Census:
    """The products that have a photo, by kind; and those that have none."""

    def __init__(self, attributes: Sequence[str]) -> None:
        self.kinds: Counter[_Kind] = Counter()
        self.labels: Mapping[str, defaultdict[str, Counter[_Kind]]] = {
            name: defaultdict(Counter) for name in attributes
        }
        self.contradicting: defaultdict[str, _Products] = defaultdict(_Products)
        self.missing = _Products()
        self.undated = _Products()

    @property
    def photos(self) -> int:
        return self.kinds.total()

    @property
    def years(self) -> Counter[int | None]:
        years: Counter[int | None] = Counter()
        for (year, *_), count in self.kinds.items():
            years[year] += count
        return years

    def spread(self) -> str:
        return ", ".join(
            f"{count} {'without a year' if year is None else f'of {year}'}"
            for year, count in sorted(self.years.items(), key=str)
        )


@dataclass(frozen=True)
class _Findings:
    """What came to light as the photos were read."""

    unlabelled: _Products = field(default_factory=_Products)
    unusable: defaultdict[ImageErrorCode, _Products] = field(default_factory=lambda: defaultdict(_Products))
    moved: defaultdict[tuple[Side, Side | None], _Products] = field(
        default_factory=lambda: defaultdict(_Products)
    )
    shared: _Products = field(default_factory=_Products)  # a product as often as it has such a photo
    examples: Counter[Side] = field(default_factory=Counter)
    trained: Counter[tuple[str, int]] = field(default_factory=Counter)  # head, index of the label

    def left_out(self, heads: Mapping[str, Sequence[str]], minimum_photos: int) -> Iterator[LeftOut]:
        yield from self.unlabelled.left_out("no known label of any head")
        for code, products in sorted(self.unusable.items()):
            yield from products.left_out(code)
        for (own, side), products in sorted(self.moved.items(), key=str):
            yield from products.left_out(
                f"would {own}, but are near-duplicates of photos "
                + (f"that {side}: they {side}" if side else "on two sides: they are on none")
            )
        yield from self.shared.left_out("further photos, near-duplicates of photos that are on another side")
        for head, labels in heads.items():
            for index, label in enumerate(labels):
                trained = self.trained[head, index]
                if trained < minimum_photos:
                    why = f"{trained} photos that can be used to train, {minimum_photos} were expected"
                    yield LeftOut(f"{head} {label!r}", trained, why)
        if not self.examples["validate"]:
            yield LeftOut("validation", 0, "no photo is on this side")


def _photos(photos: Photos, bucket: str) -> NDArray[np.uint64]:
    """Hashes of the URIs of all photos, sorted: 8 bytes each, because a catalogue may have millions."""
    uris = photos.names(photos_prefix(bucket))
    return np.sort(np.fromiter(map(_hash, uris), np.uint64))


def _hash(uri: str) -> int:
    return int(digest(uri)[:16], 16)


def _test_from(census: _Census) -> int:
    """The year of which and after which are about `TEST_SHARE` of the products that have a year."""
    dated = {year: count for year, count in census.years.items() if year is not None}
    # From the first year on they would be all.
    candidates = sorted(dated)[1:]
    if not candidates:
        raise DatasetError(
            "test_from: must be given, or test_share: to choose a year takes products of two years; of those "
            f"with a photo there are {census.spread()}"
        )

    def share(first: int) -> float:
        return sum(count for year, count in dated.items() if year >= first) / sum(dated.values())

    return min(candidates, key=lambda first: abs(share(first) - TEST_SHARE))


def _check_sides(census: _Census, split: _Split) -> None:
    sides = split.sides(census.kinds)
    # Those that validate may be none: a catalogue may be too small for it.
    needed: Mapping[Side, str] = {
        "train": f"no product can train: all of them validate or test ({split.test})",
        "test": f"no product can test ({split.test})",
    }
    for side, complaint in needed.items():
        if not sides[side]:
            raise DatasetError(f"{complaint}; of those with a photo there are {census.spread()}")


def _heads(
    census: _Census,
    split: _Split,
    minimum_photos: int,
    attributes: Sequence[str],
    *,
    several: bool = False,
) -> tuple[Mapping[str, Sequence[str]], Sequence[LeftOut]]:
    """The attributes, where there is something to learn in them, with the labels; and the others."""
    heads: dict[str, Sequence[str]] = {}
    unlearnt = []
    for column in attributes:
        labels, learnt = census.labels[column], []
        for label, kinds in sorted(labels.items()):
            sides = split.sides(kinds)
            if several and SEPARATOR in label:
                unlearnt.append(LeftOut(f"{column} {label!r}", sides.total(), f"it has a {SEPARATOR}"))
                continue
            if sides["train"] >= minimum_photos:
                learnt.append(label)
                continue
            why = (
                f"only among those that test ({split.test}): it cannot be learnt"
                if sides["test"] == sides.total()
                else f"{sides['train']} photos that train, {minimum_photos} are needed"
            )
            unlearnt.append(LeftOut(f"{column} {label!r}", sides.total(), why))
        if len(learnt) > 1:
            heads[column] = learnt
        else:
            why = f"to learn needs two classes, it has {len(learnt)}"
            unlearnt.append(LeftOut(column, census.photos, why))
    return heads, unlearnt


def _dependences(
    config: CatalogueConfig, heads: Mapping[str, Sequence[str]], every: Mapping[str, Sequence[str]]
) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Of the heads that have NOT_APPLICABLE, what decides it, where that is learnt too."""
    return {
        name: attribute.applies_to
        for name, attribute in config.attributes.items()
        if NOT_APPLICABLE in every.get(name, ()) and attribute.applies_to.keys() <= heads.keys()
    }


def _check_heads(
    census: _Census,
    split: _Split,
    heads: Mapping[str, Sequence[str]],
    unlearnt: Sequence[LeftOut],
    minimum_photos: int,
) -> None:
    if not heads:
        reasons = "; ".join(f"{each.what}: {each.why}" for each in unlearnt)
        raise DatasetError(
            f"nothing can be learnt: it takes a column with two classes of at least {minimum_photos} photos "
            f"that train. {reasons}"
        )
    if not any(
        split.sides(census.labels[head][label])["test"] for head, labels in heads.items() for label in labels
    ):
        raise DatasetError(
            f"nothing can be tested: of those that test ({split.test}) no product has a label of a head"
        )
