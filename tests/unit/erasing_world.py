"""The tables in memory, as an erasure needs them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from services.client.erasing import Erasure
from services.shared.events import Product
from services.shared.memory import MemoryWarehouse
from services.shared.nearest import nearest

TABLES = ("predictions", "labels", "audited_labels")


class MemoryRows:
    """The tables of a warehouse, and the catalogue's products.

    Args:
        warehouse: has the tables.
        products: of the catalogue.
        forget: takes products out of the catalogue.

    """

    owns_products = True

    def __init__(
        self,
        warehouse: MemoryWarehouse,
        products: Callable[[], Sequence[Product]],
        forget: Callable[[Sequence[str]], None],
    ) -> None:
        self._warehouse, self._products, self._forget = warehouse, products, forget

    def _ids(self) -> Sequence[str]:
        return [product.product_id for product in self._products()]

    def photos(self, product_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return {each.product_id: each.photos for each in self._products() if each.product_id in product_ids}

    def named_by_others(self, photos: Sequence[str], product_ids: Sequence[str]) -> Set[str]:
        others = (each for each in self._products() if each.product_id not in product_ids)
        return {photo for each in others for photo in each.photos if photo in photos}

    def count(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        held = [*self._ids(), *(row["product_id"] for table in TABLES for row in self._rows(table))]
        return Counter(each for each in held if each in product_ids)

    def delete(self, product_ids: Sequence[str]) -> None:
        self._forget(product_ids)
        for table in TABLES:
            self._keep(table, lambda row: row["product_id"] not in product_ids)

    def delete_rejected(self, rejection_ids: Sequence[str]) -> None:
        self._keep("rejected", lambda row: row["rejection_id"] not in rejection_ids)

    def nearest(self, product_id: str) -> str | None:
        return nearest(product_id, self._ids())

    def recorded(self, product_ids: Sequence[str]) -> Sequence[Erasure]:
        found = [Erasure.model_validate(row) for row in self._rows("erased")]
        found = [each for each in found if each.product_id in product_ids]
        return sorted(found, key=lambda each: each.erased_at, reverse=True)

    def record(self, erasures: Sequence[Erasure]) -> None:
        self._warehouse.append("erased", [erasure.model_dump() for erasure in erasures])

    def _rows(self, table: str) -> Sequence[Mapping[str, Any]]:
        return self._warehouse.tables.get(table, [])

    def _keep(self, table: str, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        self._warehouse.tables[table] = [row for row in self._rows(table) if wanted(row)]
