"""A catalogue whose labels can be audited in a second: photos whose colours tell their type."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.audit.job import Ports, audit
from services.model.learnt import Learnt
from services.shared.audits import AuditedLabel, AuditRequest, AuditSummary
from services.shared.events import Product
from services.shared.layout import photo_uri
from services.shared.memory import MemoryCatalogue, MemoryObjects, MemoryWarehouse
from tests.unit.photos import encoded

BUCKET = "bucket"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
COLOURS = {"Dresses": (200, 40, 40), "Shirts": (40, 200, 40), "Jeans": (40, 40, 200)}


def photo(label: str, number: int, quality: int = 90) -> bytes:
    """A garment of a type: its own mosaic for each number, in the type's colour."""
    shades = np.random.default_rng(number).uniform(0.3, 1.2, (8, 8, 1))
    fields = np.clip(np.array(COLOURS[label]) * shades, 0, 255).astype(np.uint8)
    garment = Image.fromarray(fields).resize((32, 32), Image.Resampling.BICUBIC)
    ground = Image.new("RGB", (48, 64), "white")
    ground.paste(garment, (8, 16))
    return encoded(ground, "JPEG", quality=quality)


class ColourEmbedder:
    """Embeds a photo as the mean colours of its quarters; counts the photos."""

    name, version, image_size = "colours", "c1", 32

    def __init__(self, learnt: Learnt | None = None) -> None:
        self.learnt = learnt
        self.embedded = 0

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.embedded += len(images)
        quarters = images.reshape(-1, 2, 16, 2, 16, 3).mean(axis=(2, 4), dtype=np.float64)
        return quarters.reshape(-1, 12).astype(np.float32)


@dataclass
class Shop:
    """A catalogue, and what audits of it leave behind."""

    products: list[Product] = field(default_factory=list)
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    embedder: ColourEmbedder = field(default_factory=ColourEmbedder)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.warehouse = MemoryWarehouse(self.objects)

    def add(self, product_id: str, photo: bytes | None, **columns: str | None) -> None:
        self.products.append(Product.of(product_id).with_values(columns))
        if photo is not None:
            self.objects.put(photo_uri(BUCKET, product_id), photo)

    def add_with_photos(self, product_id: str, photos: list[str], **columns: str) -> None:
        """Adds a product whose photos are in the bucket, or should be, under these names."""
        uris = [f"gs://{BUCKET}/{name}" for name in photos]
        self.products.append(Product.of(product_id, photos=uris).with_values(columns))

    def fill(self, count: int) -> "Shop":
        """Adds products of each type in turn, and a season that their photos say nothing of."""
        for number in range(count):
            label = [*COLOURS][number % len(COLOURS)]
            season = ("Summer", "Winter")[sha256(str(number).encode()).digest()[0] % 2]
            self.add(str(1000 + number), photo(label, number), article_type=label, season=season)
        return self

    def declare(self, product_id: str, label: str) -> None:
        """Changes what the catalogue says of a product."""
        (place,) = [place for place, each in enumerate(self.products) if each.product_id == product_id]
        self.products[place] = self.products[place].with_values({"article_type": label})

    def ports(self, objects: MemoryObjects | None = None) -> Ports:
        catalogue = MemoryCatalogue(self.products)
        return Ports(objects or self.objects, catalogue, self.warehouse, lambda: NOW, BUCKET)

    def audit(
        self, *attributes: str, audit_id: str = "autumn", objects: MemoryObjects | None = None, folds: int = 5
    ) -> AuditSummary:
        request = AuditRequest(audit_id=audit_id, attributes=attributes or ("article_type",), folds=folds)
        return audit(request, self.ports(objects), lambda pinned: self.embedder, self.said.append)

    def rows(self, attribute: str = "article_type", audit_id: str = "autumn") -> dict[str, AuditedLabel]:
        """The loaded rows about an attribute, by the product's id; there is one of each."""
        rows = [AuditedLabel.model_validate(row) for row in self.warehouse.tables.get("audited_labels", [])]
        found = [row for row in rows if (row.audit_id, row.head) == (audit_id, attribute)]
        by_id = {row.product_id: row for row in found}
        assert len(by_id) == len(found)
        return by_id


def ranked(rows: Iterable[AuditedLabel]) -> list[str]:
    """The ids of judged products, the least likely label first."""
    judged = [row for row in rows if row.probability is not None]
    return [row.product_id for row in sorted(judged, key=lambda row: row.probability or 0)]
