"""Loads a catalogue in the layout of "Fashion Product Images" into the project."""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

from services.client.ports import ObjectFacts, Objects, Tables
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Product
from services.shared.layout import photo_uri
from services.shared.styles import Catalogue

UPLOADS_AT_ONCE = 16

type Transfer = Literal["uploaded", "present", "missing"]


@dataclass(frozen=True)
class Transfers:
    """What became of the photos."""

    uploaded: int
    present: int  # were there already, byte for byte
    missing: tuple[int, ...]  # products that the folder has no photo of


def upload_photos(
    catalogue: Catalogue, objects: Objects, bucket: str, progress: Callable[[Transfer], None]
) -> Transfers:
    """Uploads the photos that are not in the bucket yet, or differ there.

    Args:
        catalogue: whose photos.
        objects: Cloud Storage.
        bucket: where the catalogue is.
        progress: told of each photo as it is done.

    """
    standing = objects.facts(f"gs://{bucket}/images/")
    counts: Counter[Transfer] = Counter()
    missing = []
    threads = ThreadPoolExecutor(UPLOADS_AT_ONCE)
    try:
        futures = {
            threads.submit(
                _transfer, catalogue, product, photo_uri(bucket, product.image_id), standing, objects
            ): product
            for product in catalogue.products
        }
        for future in as_completed(futures):
            outcome = future.result()
            counts[outcome] += 1
            if outcome == "missing":
                missing.append(futures[future].image_id)
            progress(outcome)
    finally:
        # After an error or a Ctrl-C what is not begun is not wanted; a next run carries on.
        threads.shutdown(cancel_futures=True)
    return Transfers(counts["uploaded"], counts["present"], tuple(sorted(missing)))


def load_products(catalogue: Catalogue, tables: Tables) -> None:
    """Puts the products into the table: each replaces the one of its id, all others stay."""
    if catalogue.products:
        tables.merge_products(catalogue.products)


def _transfer(
    catalogue: Catalogue, product: Product, uri: str, standing: Mapping[str, ObjectFacts], objects: Objects
) -> Transfer:
    try:
        data = catalogue.photo(product)
    except ObjectNotFoundError:
        return "missing"
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    if standing.get(uri) == ObjectFacts(len(data), md5):
        return "present"
    objects.put(uri, data, "image/jpeg")
    return "uploaded"
