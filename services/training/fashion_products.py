"""A folder in the layout of Fashion Product Images, as a source of examples: styles.csv and images/<id>.jpg.

https://www.kaggle.com/datasets/paramaggarwal/fashion-product-images-dataset, or a team's own catalogue. The
rows are kept in memory, some 2 KB each, the photos are not.
"""

from collections.abc import Sequence
from pathlib import Path

from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError
from services.shared.events import Filters
from services.shared.memory import MemoryCatalogue
from services.shared.ports import Stored
from services.shared.styles import read_catalogue
from services.training.catalogue import CatalogueSource
from services.training.examples import LeftOut

_BUCKET = "folder"
_ROOT = f"gs://{_BUCKET}/"


def folder_source(
    folder: Path,
    filters: Filters,
    *,
    minimum_photos: int,
    validate_share: float,
    test_from: int | None,
) -> CatalogueSource:
    """The folder's products; the arguments are as `CatalogueSource` has them.

    Raises:
        services.shared.styles.StylesError: there is no styles.csv, or it has another header.
        services.training.catalogue.DatasetError: nothing can be learnt or tested from it.

    """
    catalogue = read_catalogue(folder)
    return CatalogueSource(
        MemoryCatalogue(catalogue.products),
        FolderPhotos(folder),
        _BUCKET,
        filters,
        selection_id=str(folder),
        minimum_photos=minimum_photos,
        validate_share=validate_share,
        test_from=test_from,
        read_from={"folder": str(folder)},
        left_out=[LeftOut(f"line {row.line}", 1, row.reason) for row in catalogue.bad_rows],
    )


class FolderPhotos:
    """A folder in the place of a bucket, to be read; implements `services.training.catalogue.Photos`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Listed once, where the disk would be asked a hundred times.
        self._names = [f"{_ROOT}images/{path.name}" for path in folder.joinpath("images").glob("*.jpg")]

    def read(self, uri: str, *, generation: int | None = None, max_bytes: int | None = None) -> Stored:  # noqa: D102
        path = self._folder / uri.removeprefix(_ROOT)
        try:
            if max_bytes is not None and path.stat().st_size > max_bytes:
                raise ObjectTooLargeError(f"{path} has more than {max_bytes} bytes")
            return Stored(path.read_bytes(), 1)
        except FileNotFoundError as error:
            raise ObjectNotFoundError(str(path)) from error

    def names(self, prefix: str) -> Sequence[str]:  # noqa: D102
        return [name for name in self._names if name.startswith(prefix)]
