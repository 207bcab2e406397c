"""`vitrine import` and `vitrine catalogue`: what a catalogue's columns mean, and its products and photos."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from services.client.errors import ClientError
from services.client.options import Options

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.client.check import AttributeCheck, CatalogueCheck
    from services.client.guess import Guess
    from services.shared.catalogue_config import CatalogueConfig
    from services.shared.catalogue_files import Catalogue

MISSING_LISTED = 10  # ids of products without a usable photo that an import names
VALUES_SHOWN = 4  # of an attribute

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

app = typer.Typer(help="Describe and check a catalogue of your own.", no_args_is_help=True)

IMPORT_HELP = "\n\n".join(
    [
        "Load a catalogue: a folder, a zip file, or a table file with the photos beside it.",
        "Products replace those with the same id. Photos that are already uploaded are not uploaded again.",
        "Photos at https:// addresses are fetched if the catalogue.yaml allows their host: photos: {column: "
        "image_url, hosts: [images.shop.example]}. A photo is fetched once; run the command again for those "
        "that failed.",
        "A catalogue of your own is explained by a catalogue.yaml, which --catalogue names and "
        "`vitrine catalogue init` writes. Tables are CSV, TSV, JSON lines, Excel or Parquet files. "
        "Without it, the index file tells which layout the catalogue has:",
        'styles.csv and images/<id>.jpg: "Fashion Product Images". Its small version is a zip file on '
        "Kaggle, kaggle.com/datasets/paramaggarwal/fashion-product-images-small. The download needs an "
        "account.",
        "images.csv and images/<image>.jpg: clothing-dataset, photos that people took of their own clothes "
        "(CC0). To get it: git clone https://github.com/alexeygrigorev/clothing-dataset",
    ]
)


@app.command()
def init(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE_OR_TABLE",
            help="A table file, a folder or zip file that has one, or a table or view in BigQuery: "
            "project.dataset.table or dataset.table.",
        ),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where to write it.")] = Path(
        "catalogue.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write a catalogue.yaml for a table: guesses, with doubts as comments. Read it before you use it.

    Of a table in BigQuery, at most 10,000 rows are read, and nothing is written to it.
    """
    if to.exists() and not force:
        raise ClientError(f"{to} exists: choose another file with --to, or overwrite it with --force")
    guessed, notes, rows = _guess_table(ctx.obj, source) or _guess_file(Path(source))
    to.write_text(guessed.to_yaml(), encoding="utf-8")
    for note in notes:
        err.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    for place, doubts in guessed.doubts.items():
        for doubt in doubts:
            err.print(f"[yellow]{escape(place)}[/] {escape(doubt)}", soft_wrap=True)
    out.print(f"{to}: {len(guessed.config.attributes)} attributes, from {rows} rows", soft_wrap=True)


def _guess_file(path: Path) -> "tuple[Guess, Sequence[str], int]":
    """What a table file means, what was assumed to read it, and how many rows it has."""
    from services.client.guess import GuessError, guess
    from services.shared.catalogue_files import open_table
    from services.shared.folders import FolderError, read_index
    from services.shared.table_files import TableError, read_table

    try:
        folder = open_table(path)
        table = read_table(folder.index, read_index(folder))
        if not table.rows:
            raise ClientError(f"{path}: {folder.index} has no lines below the header")
        return guess(table), table.notes, len(table.rows)
    except (FolderError, TableError, GuessError) as error:
        raise ClientError(f"{path}: {error}" if isinstance(error, GuessError) else str(error)) from error


def _guess_table(options: Options, source: str) -> "tuple[Guess, Sequence[str], int] | None":
    """What a table in BigQuery means, and how many of its rows were read; None if that is a file's name."""
    from services.shared.table_files import SUFFIXES

    if Path(source).exists() or source.lower().endswith((*SUFFIXES, ".zip")):
        return None
    from services.client.guess import GuessError
    from services.client.table_sample import full_name, guess_table, sample

    if full_name(source, "project") is None:
        return None
    target = options.target()
    target.activate()
    name = str(full_name(source, target.project))
    found = sample(target.project, name)
    try:
        return guess_table(found), (), len(found.table.rows)
    except GuessError as error:
        raise ClientError(f"{name}: {error}") from error


@app.command()
def check(
    ctx: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A table file, or a folder or zip file that has one. Default: the pipeline's table."
        ),
    ] = None,
) -> None:
    """Count a catalogue's rows, values and photos, and what is wrong with them.

    Exits with 1 if the catalogue cannot be used as it is.
    """
    from services.client.check import check_files, check_tables

    options: Options = ctx.obj
    if path is not None:
        config = options.catalogue()
        catalogue = _read(path, config)
        for note in catalogue.notes:
            err.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
        _print(check_files(catalogue, config))
        return
    vitrine = options.connect()
    _print(check_tables(vitrine.tables, vitrine.objects, vitrine.bucket))


def import_(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder, a zip file as it was downloaded, or a table file.")],
) -> None:
    """Load a catalogue from a folder, a zip file or a table file."""
    from services.client.importer import count_photos, load_products, upload_photos
    from services.shared.events import Filters
    from services.shared.https_photos import HttpsPhotos

    options: Options = ctx.obj
    # What is wrong with the files is told before a connection is missed.
    config = options.catalogue()
    catalogue = _read(path, config)
    vitrine = options.connect()
    if (table := vitrine.tables.config.table) is not None:
        raise ClientError(
            f"the products are in {table}, which is only read, so that nothing is imported; to import "
            "products, leave `table` out of the catalogue.yaml"
        )
    with progress() as bars:
        photos = bars.add_task("photos", total=count_photos(catalogue), unit="photos")
        transfers = upload_photos(
            catalogue,
            vitrine.objects,
            vitrine.bucket,
            lambda _outcome: bars.advance(photos),
            HttpsPhotos(config.photos.hosts),
        )
        products = bars.add_task("products", total=len(catalogue.products), unit="rows")
        load_products(catalogue, vitrine.tables)
        bars.update(products, completed=len(catalogue.products))
    total = vitrine.tables.matching(Filters()).images
    for note in catalogue.notes:
        err.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    for row in catalogue.bad_rows:
        err.print(f"[yellow]skipped[/] line {row.line}: {escape(row.reason)}", soft_wrap=True)
    if transfers.missing:
        err.print(f"[yellow]no photo[/] of {_first(transfers.missing)}", soft_wrap=True)
    if transfers.unusable:
        reason = next(iter(transfers.unusable.values()))
        err.print(
            f"[yellow]unusable photo[/] of {_first([*transfers.unusable])}: {escape(reason)}", soft_wrap=True
        )
    for code, failed in transfers.not_fetched.items():
        reason = next(iter(failed.values()))
        err.print(
            f"[yellow]{code}[/] {len(failed)} photos, of {_first([*failed])}: {escape(reason)}",
            soft_wrap=True,
        )
    if total > len(catalogue.products):
        err.print(f"the catalogue has {total} products now, including those of other imports", soft_wrap=True)
    unusable = f", {len(transfers.unusable)} unusable" if transfers.unusable else ""
    failures = sum(map(len, transfers.not_fetched.values()))
    fetched = f"{transfers.fetched} fetched, " if transfers.fetched else ""
    not_fetched = f", {failures} not fetched" if failures else ""
    out.print(
        f"{len(catalogue.products)} products, {len(catalogue.bad_rows)} lines skipped; "
        f"photos: {transfers.uploaded} uploaded, {fetched}{transfers.present} already there, "
        f"{len(transfers.missing)} missing{unusable}{not_fetched}",
        soft_wrap=True,
    )
    if not transfers.uploaded and not transfers.fetched and not transfers.present:
        own = config.photos
        where = (
            f"the names and addresses in the column {own.column}"
            if own.column
            else f"{str(own.pattern).replace('{id}', '<id>')} with an extension such as .jpg or .png"
        )
        raise ClientError(f"none of the {len(catalogue.products)} products has a photo: expected {where}")


def _read(path: Path, config: "CatalogueConfig") -> "Catalogue":
    from services.client.importer import read
    from services.shared.folders import FolderError

    try:
        return read(path, config)
    except FolderError as error:
        raise ClientError(str(error)) from error


def _first(ids: Sequence[str]) -> str:
    return escape(", ".join(ids[:MISSING_LISTED])) + (", ..." if len(ids) > MISSING_LISTED else "")


def _print(found: "CatalogueCheck") -> None:
    out.print(f"{found.rows} rows, {found.products} products", soft_wrap=True)
    table = Table("attribute", "type", "values", "without", "", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, each in found.attributes.items():
        table.add_row(name, each.type, str(len(each.values)), str(each.without), escape(_most(each)))
    out.print(table)
    for finding in found.findings:
        out.print(f"[{'red' if finding.stops else 'yellow'}]{escape(str(finding))}[/]", soft_wrap=True)
    if found.stopped:
        raise typer.Exit(1)


def _most(attribute: "AttributeCheck") -> str:
    """The most frequent values; of numbers and dates, the least and the largest."""
    if not attribute.values:
        return ""
    if attribute.type in ("number", "date"):
        key = float if attribute.type == "number" else str
        return f"{min(attribute.values, key=key)} to {max(attribute.values, key=key)}"
    listed = ", ".join(f"{value} {count}" for value, count in attribute.values.most_common(VALUES_SHOWN))
    return listed + (", ..." if len(attribute.values) > VALUES_SHOWN else "")


def progress() -> Progress:
    """Bars on stderr; a task has a `unit`."""
    columns = TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TextColumn("{task.fields[unit]}"), TimeElapsedColumn(), console=err)
