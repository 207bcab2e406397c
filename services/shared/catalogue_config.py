"""catalogue.yaml: what a catalogue's columns mean."""

import re
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.shared.events import AttributeName, Product, Value, describe
from services.shared.labels import NOT_APPLICABLE, normalised
from services.shared.nearest import did_you_mean

Column = Annotated[str, Field(min_length=1, max_length=300)]

# project.dataset.table; only old projects have a dot and a colon in their id.
TABLE = r"^[a-z0-9:.-]+\.[A-Za-z0-9_]+\.[^.\s`\\\x00-\x1f\x7f]+$"

# In the form that addresses have: Unicode names in Punycode.
HOST = r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?(:[1-9][0-9]{0,4})?"

type AttributeType = Literal["value", "values", "number", "date"]

ID = "{id}"
BUNDLED = Path(__file__).with_name("catalogue.yaml")
# Columns of every catalogue beside those of its attributes.
RESERVED = ("product_id", "display_name", "photos")


class ConfigError(Exception):
    """A catalogue.yaml cannot be used; the message says why in one line."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Photos(_Strict):
    """Where the photos of a product are: in a column, or under a name that has the id in it.

    Args:
        column: of gs:// or https:// URIs, or of names below the folder or bucket; one or several.
        separator: between several photos in a text. Default: a text is one photo.
        pattern: a name with {id} in it, without an extension: any extension of an image counts.
        hosts: from which photos may be fetched over https: `host`, or `host:port`. Default: none.

    """

    column: Column | None = None
    separator: Annotated[str, Field(min_length=1, max_length=5)] | None = None
    pattern: str | None = None
    hosts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.column is None) == (self.pattern is None):
            raise ValueError("column: expected either `column` or `pattern`")
        if self.separator is not None and self.column is None:
            raise ValueError("separator: expected with `column`; a `pattern` names one photo")
        if self.pattern is not None and self.pattern.count(ID) != 1:
            raise ValueError(f"pattern: expected {ID} once, such as images/{ID} (got {self.pattern!r})")
        return self

    @model_validator(mode="after")
    def _hosts_are_names(self) -> Self:
        if self.hosts and self.column is None:
            raise ValueError("hosts: photos have web addresses in a `column` only; leave it out")
        for host in self.hosts:
            if not re.fullmatch(HOST, host):
                raise ValueError(
                    f"hosts: expected lower-case names such as images.shop.example, without https:// "
                    f"(got {host!r})"
                )
        return self


class Attribute(_Strict):
    """A column that products are filtered by; values can also be learnt and corrected.

    Args:
        column: its name in the source. Default: the attribute's name.
        type: one value, any number of values, or a number or a date, which requests ask for by range.
        separator: between several values in a cell of a text file.
        parent: the attribute that each value determines, such as the sub category of an article type.
        applies_to: other attributes -> the values that a product must have one of, each of them, for this
            attribute to apply to it: `{garment: [T-Shirt, Shirt]}`. Default: it applies to all products.

    """

    column: Column | None = None
    type: AttributeType = "value"
    separator: Annotated[str, Field(min_length=1, max_length=5)] = "|"
    parent: AttributeName | None = None
    applies_to: Mapping[AttributeName, Annotated[tuple[Value, ...], Field(min_length=1)]] = {}


class CatalogueConfig(_Strict):
    """What a catalogue's columns mean.

    Args:
        table: `project.dataset.table` of a table or view in BigQuery. Default: the table `products`.
        id: the column of ids, of STRING or INT64.
        display_name: the column of what people call the product.
        photos: where they are.
        attributes: by name, in the order in which they are shown.
        time: the attribute, a number or a date, that tells newer products from older ones.

    """

    table: Annotated[str, Field(pattern=TABLE)] | None = None
    id: Column
    display_name: Column | None = None
    photos: Photos = Photos(pattern=f"images/{ID}")
    attributes: Annotated[Mapping[AttributeName, Attribute], Field(min_length=1)]
    time: AttributeName | None = None

    @model_validator(mode="after")
    def _attributes_exist(self) -> Self:
        if self.time is not None and self._attribute("time", self.time).type not in ("number", "date"):
            raise ValueError(f"time: {self.time} must be of type number or date")
        for name, attribute in self.attributes.items():
            if attribute.parent is not None:
                field = f"attributes.{name}.parent"
                parent = self._attribute(field, attribute.parent)
                if {attribute.type, parent.type} != {"value"}:
                    raise ValueError(f"{field}: {name} and {attribute.parent} must both be of type value")
                if name in self.ancestors(name):
                    raise ValueError(f"{field}: {name} is its own ancestor")
        return self

    @model_validator(mode="after")
    def _dependences_can_be_decided(self) -> Self:
        for name, attribute in self.attributes.items():
            for other in attribute.applies_to:
                field = f"attributes.{name}.applies_to"
                decides = self._attribute(field, other)
                if other == name:
                    raise ValueError(f"{field}: {name} cannot depend on itself")
                if decides.type != "value":
                    raise ValueError(f"{field}: {other} must be of type value")
                if decides.applies_to:
                    raise ValueError(f"{field}: {other} depends on others itself; name those instead")
                if attribute.type not in ("value", "values"):
                    raise ValueError(f"{field}: {name} must be of type value or values")
                if attribute.parent is not None:
                    raise ValueError(f"{field}: {name} has a parent; leave out one of both")
        return self

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Self:
        # BigQuery does not tell columns apart by their case.
        used: dict[str, str] = {}
        for name in self.attributes:
            if name.lower() in RESERVED:
                raise ValueError(f"attributes.{name}: every product has a {name.lower()}; use another name")
            if (other := used.setdefault(name.lower(), name)) != name:
                raise ValueError(f"attributes.{name}: differs from {other} in case only; use another name")
        return self

    @model_validator(mode="after")
    def _columns_can_be_quoted(self) -> Self:
        for field, column in self.columns.items() if self.table else ():
            if not column.isprintable() or "`" in column or "\\" in column:
                raise ValueError(f"{field}: BigQuery has no column of the name {column!r}")
        return self

    @model_validator(mode="after")
    def _columns_are_told_apart(self) -> Self:
        used: dict[str, str] = {}
        for field, column in self.columns.items():
            if (other := used.setdefault(column, field)) != field:
                raise ValueError(f"{field}: the column {column!r} is already that of {other}")
        return self

    def _attribute(self, field: str, name: str) -> Attribute:
        if name not in self.attributes:
            raise ValueError(
                f"{field}: there is no attribute {name!r}{did_you_mean(name, [*self.attributes])}"
            )
        return self.attributes[name]

    def ancestors(self, name: str) -> Sequence[str]:
        """The attributes above one in its tree, the nearest first."""
        found: list[str] = []
        parent = self.attributes[name].parent
        while parent is not None and parent not in found:
            found.append(parent)
            parent = self.attributes[parent].parent if parent in self.attributes else None
        return found

    def applies(self, name: str, product: Product) -> bool | None:
        """Whether an attribute applies to a product; None if the attributes that decide it have no value."""
        decided: set[bool | None] = set()
        for other, values in self.attributes[name].applies_to.items():
            value = product.value(other)
            decided.add(None if value is None else value in values)
        return False if False in decided else None if None in decided else True

    def contradicts(self, name: str, product: Product) -> bool:
        """Whether a product has a value of an attribute that does not apply to it."""
        values = [value for value in product.values(name) if not is_not_applicable(value)]
        return bool(values) and self.applies(name, product) is False

    def labels(self, name: str, product: Product) -> tuple[str, ...]:
        """The labels of a product that a model can learn and be measured by.

        Returns:
            The values of the attribute, or NOT_APPLICABLE alone. Empty if the catalogue says nothing, and if
            it contradicts itself.

        """
        if not self.attributes[name].applies_to:
            return product.values(name)
        if self.applies(name, product) is False:
            return () if self.contradicts(name, product) else (NOT_APPLICABLE,)
        values = product.values(name)
        if any(map(is_not_applicable, values)):
            return (NOT_APPLICABLE,) if all(map(is_not_applicable, values)) else ()
        return values

    def named(self, *types: AttributeType) -> tuple[str, ...]:
        """The names of the attributes of these types, in order."""
        return tuple(name for name, each in self.attributes.items() if each.type in types)

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Field -> its column in the source."""
        columns = {"id": self.id}
        if self.display_name is not None:
            columns["display_name"] = self.display_name
        if self.photos.column is not None:
            columns["photos.column"] = self.photos.column
        for name, attribute in self.attributes.items():
            columns[f"attributes.{name}"] = attribute.column or name
        return columns


def is_not_applicable(value: str) -> bool:
    """Whether a value says that the attribute does not apply."""
    return normalised(value) == normalised(NOT_APPLICABLE)


@cache
def bundled_config() -> CatalogueConfig:
    """The bundled catalogue, which is the predecessor's."""
    return read_config(BUNDLED)


def read_config(path: Path) -> CatalogueConfig:
    """Read a catalogue.yaml.

    Raises:
        ConfigError: it cannot be read, or a field is wrong; names all that are, and what was expected.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, where: str) -> CatalogueConfig:
    """Parse the text of a catalogue.yaml.

    Args:
        text: YAML.
        where: names the file in messages.

    Raises:
        ConfigError: a field is wrong; names all that are, and what was expected.

    """
    try:
        content = yaml.load(text, _UniqueKeys)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: expected fields such as `id: sku`")
    try:
        return CatalogueConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: {describe(error, CatalogueConfig)}") from error


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML's own loader takes the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := next((key for place, key in enumerate(keys) if key in keys[:place]), None):
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)
