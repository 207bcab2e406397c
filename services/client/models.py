"""`vitrine models`: what is published, what is in production, and how that is changed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.client.errors import ClientError
from services.client.options import Options
from services.model.manifest import DEFAULT_DIRECTORY, MANIFEST, Manifest, ModelError, load_manifest
from services.model.registry import Pointer, Registry, UnknownVersionError

# Models beside the bundled one, by name.
ALTERNATIVES = {
    path.parent.name: path.parent
    for path in sorted(DEFAULT_DIRECTORY.parent.glob(f"*/{MANIFEST}"))
    if path.parent != DEFAULT_DIRECTORY
}

app = typer.Typer(
    help="The versions of the model: publish, compare, promote, roll back.", no_args_is_help=True
)
out = Console(highlight=False)

Version = Annotated[str, typer.Argument(help="As `vitrine models list` names it.")]
Why = Annotated[str, typer.Option(help="Is kept with the pointer.", show_default=False)]
By = Annotated[str | None, typer.Option(help="Your name. Default: the account that is signed in.")]


@app.callback()
def name(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(envvar="VITRINE_MODEL", help="The name of the model. Default: the bundled model's."),
    ] = None,
) -> None:
    """Keeps the name of the model, whose versions all commands are about."""
    ctx.meta["model"] = model


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the published versions, the newest first."""
    with _registry(ctx) as registry:
        pointer = registry.production()
        served = pointer.version if pointer else None
        table = Table("version", "created", "heads", "figures", box=box.SIMPLE_HEAD, pad_edge=False)
        manifests = [_manifest_or_complaint(registry, version) for version in registry.versions()]
        for manifest in sorted(manifests, key=_newest_first):
            if isinstance(manifest, str):
                out.print(f"[red]refused[/] {escape(manifest)}", soft_wrap=True)
                continue
            marked = f"[bold green]{manifest.version} ◀ production[/]"
            figures = ", ".join(f"{figure} {value:g}" for figure, value in list(manifest.figures.items())[:3])
            table.add_row(
                marked if manifest.version == served else manifest.version,
                str(manifest.created),
                " ".join(manifest.labels),
                figures,
            )
        if table.row_count:
            out.print(table)
        _print_pointer(registry.name, pointer)


@app.command()
def show(ctx: typer.Context, version: Version) -> None:
    """Print a version's manifest, as JSON."""
    with _registry(ctx) as registry:
        print(registry.manifest(version).model_dump_json(indent=2))


@app.command()
def publish(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Has a model.json.")],
) -> None:
    """Upload a version, as training wrote it; prints its name. It serves nobody before it is promoted."""
    with _registry(ctx) as registry:
        print(registry.publish(directory).version)


@app.command()
def promote(ctx: typer.Context, version: Version, why: Why, by: By = None) -> None:
    """Put a version in production: jobs that start from now on use it, uploads soon."""
    with _registry(ctx) as registry:
        pointer = registry.promote(version, by or ctx.obj.account(), why, datetime.now(UTC))
        _print_pointer(registry.name, pointer)


@app.command()
def rollback(ctx: typer.Context, why: Why, by: By = None) -> None:
    """Put back in production what was there before; a second rollback undoes the first."""
    with _registry(ctx) as registry:
        pointer = registry.rollback(by or ctx.obj.account(), why, datetime.now(UTC))
        _print_pointer(registry.name, pointer)


@app.command()
def compare(ctx: typer.Context, one: Version, other: Version) -> None:
    """Print what was measured of two versions side by side."""
    with _registry(ctx) as registry:
        first, second = registry.manifest(one), registry.manifest(other)
    table = Table("", one, other, "change", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_row("created", str(first.created), str(second.created), "")
    table.add_row("image_size", str(first.image_size), str(second.image_size), "")
    for head in {**first.labels, **second.labels}:
        counts = [str(len(manifest.labels.get(head, ())) or "-") for manifest in (first, second)]
        table.add_row(f"labels of {head}", *counts, "")
    for figure in {**first.figures, **second.figures}:
        before, after = first.figures.get(figure), second.figures.get(figure)
        change = "" if before is None or after is None else f"{after - before:+.4f}"
        table.add_row(
            figure, *("-" if value is None else f"{value:.4f}" for value in (before, after)), change
        )
    out.print(table)


@app.command()
def bundle(
    source: Annotated[
        str,
        typer.Argument(
            help=f"A version's directory, or one of this installation: {', '.join(ALTERNATIVES)}."
        ),
    ],
) -> None:
    """Make a version the bundled one, with which services answer until another is promoted.

    It replaces the model in this installation; images that are built from it have it from then on.
    """
    directory = ALTERNATIVES.get(source, Path(source))
    if directory.resolve() == DEFAULT_DIRECTORY.resolve():
        raise ClientError(f"{source} is the bundled model already")
    try:
        manifest = load_manifest(directory)
    except ModelError as error:
        raise ClientError(str(error)) from error
    # Replaced when the copy is whole, so that an interruption never leaves half a model.
    copy, old = DEFAULT_DIRECTORY.with_name("default.new"), DEFAULT_DIRECTORY.with_name("default.old")
    for leftover in (copy, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(directory, copy)
    DEFAULT_DIRECTORY.rename(old)
    copy.rename(DEFAULT_DIRECTORY)
    shutil.rmtree(old)
    out.print(f"{manifest.name} {manifest.version} is the bundled model; restart services that run")


@contextmanager
def _registry(ctx: typer.Context) -> Iterator[Registry]:
    """The registry, whose errors become ours."""
    options: Options = ctx.obj
    vitrine = options.connect()
    try:
        name = ctx.meta["model"] or load_manifest(DEFAULT_DIRECTORY).name
        yield Registry(vitrine.objects, vitrine.bucket, name)
    except UnknownVersionError as error:
        raise ClientError(f"{error}; `vitrine models list` has those there are") from error
    except ModelError as error:
        raise ClientError(str(error)) from error


def _manifest_or_complaint(registry: Registry, version: str) -> Manifest | str:
    try:
        return registry.manifest(version)
    except ModelError as error:
        return str(error)


def _newest_first(manifest: Manifest | str) -> tuple[int, str]:
    return (0, "") if isinstance(manifest, str) else (-manifest.created.toordinal(), manifest.version)


def _print_pointer(name: str, pointer: Pointer | None) -> None:
    if pointer is None:
        out.print(f"{name}: nothing was promoted yet; the services answer with the version that they carry")
        return
    served = pointer.version or "the version that the services carry"
    before = f", before it {pointer.previous}" if pointer.previous else ""
    out.print(
        f"{name}: [bold]{served}[/] is in production since {pointer.at:%Y-%m-%d %H:%M:%S} "
        f"by {escape(pointer.by)}: {escape(pointer.why)}{before}",
        soft_wrap=True,
    )
