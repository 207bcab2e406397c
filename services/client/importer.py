"""Loads a catalogue into the project: a folder or zip in the layout of one of the public data sets."""

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from services.client.ports import ObjectFacts, Objects, Tables
from services.shared import catalogue_files, clothing_dataset
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.catalogue_files import Catalogue
from services.shared.clothing_dataset import label_map
from services.shared.errors import ImageError, ImageErrorCode, ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import Product
from services.shared.folders import Folder, FolderError, open_folder
from services.shared.https_photos import HttpsPhotos
from services.shared.images import MAX_BYTES
from services.shared.jobs import keep_fetched, web_addresses
from services.shared.layout import fetched_prefix, fetched_uri, photo_uri
from services.shared.ports import WebPhotos
from services.shared.table_files import SUFFIXES, BadRow

UPLOADS_AT_ONCE = 16

type Transfer = Literal["uploaded", "fetched", "present", "missing", "unusable", "not fetched"]


@dataclass(frozen=True)
class Transfers:
    """What became of the photos."""

    uploaded: int
    present: int  # were there already, byte for byte; or were fetched from the same web address
    missing: tuple[str, ...]  # products that the folder has no photo of
    # Products with a photo that cannot be read -> why.
    unusable: Mapping[str, str] = field(default_factory=dict)
    fetched: int = 0  # from web addresses
    # Of web addresses: code of what went wrong -> product -> more about it.
    not_fetched: Mapping[ImageErrorCode, Mapping[str, str]] = field(default_factory=dict)


def read(path: Path, config: CatalogueConfig | None = None) -> Catalogue:
    """Read a catalogue.

    Args:
        path: the folder, or the zip as it was downloaded; or a table file beside its photos.
        config: what its columns mean. Default: the layout that its index file tells, styles.csv or
            images.csv.

    Raises:
        FolderError: there is no table, it cannot be read, or has no product; the message names the file.

    """
    if config is not None and config != bundled_config():
        folder = catalogue_files.open_table(path)
        catalogue = catalogue_files.catalogue_of(folder, config)
    elif (folder := _bundled_layout(path)).index != clothing_dataset.IMAGES:
        catalogue = catalogue_files.catalogue_of(folder, bundled_config())
    else:
        catalogue = clothing_dataset.catalogue_of(folder, label_map("clothing-dataset"))
    if not catalogue.products:
        reason = _skipped(catalogue.bad_rows) if catalogue.bad_rows else "it has no lines below the header"
        raise FolderError(f"{folder.where}: {folder.index} has no products: {reason}")
    return catalogue


def _bundled_layout(path: Path) -> Folder:
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return catalogue_files.open_table(path)
    return open_folder(path, (catalogue_files.STYLES, clothing_dataset.IMAGES))


def _skipped(rows: tuple[BadRow, ...]) -> str:
    return f"{len(rows)} lines skipped, the first is line {rows[0].line}: {rows[0].reason}"


def upload_photos(
    catalogue: Catalogue,
    objects: Objects,
    bucket: str,
    progress: Callable[[Transfer], None],
    web: WebPhotos | None = None,
) -> Transfers:
    """Uploads the photos that are not in the bucket yet, or differ there; fetches those at web addresses.

    Args:
        catalogue: whose photos.
        objects: Cloud Storage.
        bucket: where the catalogue is.
        progress: told of each photo as it is done.
        web: fetches photos. Default: no host is allowed.

    """
    transferring = _Transferring(catalogue, objects, bucket, web or HttpsPhotos(()))
    counts: Counter[Transfer] = Counter()
    found: defaultdict[Transfer, dict[str, str]] = defaultdict(dict)
    failed: defaultdict[ImageErrorCode, dict[str, str]] = defaultdict(dict)
    threads = ThreadPoolExecutor(UPLOADS_AT_ONCE)
    try:
        futures = {
            threads.submit(transfer): product
            for product in catalogue.products
            for transfer in transferring.of(product)
        }
        for future in as_completed(futures):
            product_id = futures[future].product_id
            try:
                outcome, why = future.result()
            except ImageError as error:
                outcome, why = "not fetched", ""
                failed[error.code][product_id] = error.detail or error.code
            counts[outcome] += 1
            if why:
                found[outcome][product_id] = why
            progress(outcome)
    finally:
        # After an error or a Ctrl-C what is not begun is not wanted; a next run carries on.
        threads.shutdown(cancel_futures=True)
    return Transfers(
        counts["uploaded"],
        counts["present"],
        tuple(sorted(found["missing"])),
        dict(sorted(found["unusable"].items())),
        counts["fetched"],
        {code: dict(sorted(each.items())) for code, each in sorted(failed.items())},
    )


def count_photos(catalogue: Catalogue) -> int:
    """How many photos `upload_photos` is to bring."""
    return sum(len(web_addresses(each)) or len(catalogue.numbers(each)) for each in catalogue.products)


def load_products(catalogue: Catalogue, tables: Tables) -> None:
    """Puts the products into the table: each replaces the one of its id, all others stay."""
    if catalogue.products:
        tables.merge_products(catalogue.products)


class _Transferring:
    """Brings photos into the bucket."""

    def __init__(self, catalogue: Catalogue, objects: Objects, bucket: str, web: WebPhotos) -> None:
        self._catalogue, self._objects, self._bucket, self._web = catalogue, objects, bucket, web
        self._standing = objects.facts(f"gs://{bucket}/images/")
        on_the_web = any(web_addresses(product) for product in catalogue.products)
        self._fetched = frozenset(objects.names(fetched_prefix(bucket)) if on_the_web else ())

    def of(self, product: Product) -> Sequence[Callable[[], tuple[Transfer, str]]]:
        """Brings each photo of a product, and says what became of it and why, if it is not there now.

        Raises:
            ImageError: of a call: the photo cannot be fetched.

        """
        if addresses := web_addresses(product):
            return [partial(self._fetch, product.product_id, address) for address in addresses]
        if product.photos and product.product_id not in self._catalogue.photos:
            return [lambda: ("present", "")]  # in a bucket of the team's
        return [partial(self._upload, product, number) for number in self._catalogue.numbers(product)]

    def _fetch(self, product_id: str, address: str) -> tuple[Transfer, str]:
        if fetched_uri(self._bucket, product_id, address) in self._fetched:
            return "present", ""
        keep_fetched(product_id, address, self._objects, self._bucket, self._web)
        return "fetched", ""

    def _upload(self, product: Product, number: int) -> tuple[Transfer, str]:
        try:
            data = self._catalogue.photo(product, MAX_BYTES, number)
        except ObjectNotFoundError as error:
            return "missing", str(error)
        except (ObjectTooLargeError, FolderError) as error:
            return "unusable", str(error)
        uri = photo_uri(self._bucket, product.product_id, number)
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        if self._standing.get(uri) == ObjectFacts(len(data), md5):
            return "present", ""
        self._objects.put(uri, data, "image/jpeg")
        return "uploaded", ""
