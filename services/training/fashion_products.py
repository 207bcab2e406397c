"""A folder in the layout of Fashion Product Images, as a source of examples: styles.csv and images/<id>.jpg.

https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset, or a team's own catalogue. The
rows are kept in memory, some 2 KB each, the photos are not.
"""

from collections.abc import Sequence
from pathlib import Path

from services.shared.catalogue_files import read_catalogue
from services.shared.errors import ImageError
from services.shared.events import Filters
from services.shared.folders import Folder, FolderError
from services.shared.memory import MemoryCatalogue
from services.shared.ports import Stored
from services.training.catalogue import CatalogueSource, TestSide
from services.training.examples import LeftOut
from services.training.sides import Sides

_BUCKET = "folder"
_ROOT = f"gs://{_BUCKET}/"


def folder_source(
    folder: Path,
    filters: Filters,
    *,
    minimum_photos: int,
    validate_share: float,
    test: TestSide,
    origin: str = "photo",
    sides: Sides | None = None,
) -> CatalogueSource:
    """The products of a folder or zip; the arguments are those of `CatalogueSource`.

    Raises:
        services.shared.catalogue_files.CatalogueFileError: there is no styles.csv, or it has another header.
        services.training.catalogue.DatasetError: nothing can be learnt or tested from it.

    """
    catalogue = read_catalogue(folder)
    return CatalogueSource(
        MemoryCatalogue(catalogue.products),
        FolderPhotos(catalogue.folder),
        _BUCKET,
        filters,
        selection_id=str(folder),
        minimum_photos=minimum_photos,
        validate_share=validate_share,
        test=test,
        read_from={"folder": folder.name},
        left_out=[LeftOut(f"line {row.line}", 1, row.reason) for row in catalogue.bad_rows],
        origin=origin,
        sides=sides,
    )


class FolderPhotos:
    """A folder in place of a bucket, to be read; implements `services.training.catalogue.Photos`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        # Listed once, where the disk would be asked a hundred times.
        self._names = [_ROOT + name for name in folder.names("images") if name.endswith(".jpg")]

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:  # noqa: D102
        try:
            return Stored(self._folder.read(uri.removeprefix(_ROOT), max_bytes), 1)
        except FolderError as error:
            raise ImageError("photo-corrupt") from error

    def names(self, prefix: str) -> Sequence[str]:  # noqa: D102
        return [name for name in self._names if name.startswith(prefix)]
