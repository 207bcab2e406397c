"""`vitrine erase`: deletes all that is kept of products."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.client.options import Options

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.client.erasing import Found

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

HELP = "\n\n".join(
    [
        "Erase products: their photos, copies, variants, predictions, reviews and catalogue rows.",
        "The command searches first, shows what it found, and asks for confirmation. If one of the ids is "
        "unknown, nothing is erased. It needs your own rights to delete objects and rows.",
        "Training snapshots and model versions are not changed. The command lists those that hold a product "
        "or its photo, so that you can delete the snapshots and train again. It also lists the photos "
        "that it leaves to you: those in your own buckets, at web addresses, or of other products, too.",
        "Erasing is refused while a job or an audit is open. You can repeat the command at any time; an "
        "interrupted erasure continues. The table `erased` records who erased which product, and when.",
    ]
)


def erase(
    ctx: typer.Context,
    product_ids: Annotated[
        list[str], typer.Argument(metavar="PRODUCT_ID...", help="The ids of the products.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be erased, and erase nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    by: Annotated[
        str | None, typer.Option(help="Who erases. Default: the account that is signed in.")
    ] = None,
) -> None:
    """Erase products."""
    from services.client.erasing import Erasing
    from services.client.erasing_tables import BigQueryRows

    options: Options = ctx.obj
    vitrine, target = options.connect(), options.target()
    rows = BigQueryRows(target.project, target.dataset, target.catalogue)
    erasing = Erasing(vitrine, rows, lambda: datetime.now(UTC))
    with err.status("searching"):
        found = erasing.look(list(dict.fromkeys(product_ids)))
    _print_found(found)
    for waiting in found.waiting if dry_run else ():
        err.print(f"[yellow]note[/] {escape(waiting)}", soft_wrap=True)
    there = [trace for trace in found.traces if trace.is_there]
    if dry_run or not there:
        return
    if not yes and not found.waiting:
        typer.confirm(f"Erase {_products(len(there))} for good?", abort=True, err=True)
    with err.status("erasing"):
        erased = erasing.erase(found, by or options.account())
    for erasure in erased:
        out.print(f"erased {escape(erasure.product_id)}", soft_wrap=True)
    if not rows.owns_products:
        err.print(
            f"[yellow]note[/] the products are in {escape(str(target.catalogue.table))}: delete the rows "
            "there, or the next job classifies these products again",
            soft_wrap=True,
        )


def _print_found(found: "Found") -> None:
    there = [trace for trace in found.traces if trace.is_there]
    if there:
        table = Table(
            *("product", "photos", "copies, variants", "lines", "rows", "rejected messages"),
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for trace in there:
            counts: Sequence[int] = (
                len(trace.photos),
                len(trace.copies),
                trace.lines.total(),
                trace.rows,
                len(trace.rejected),
            )
            table.add_row(escape(trace.product_id), *map(str, counts))
        out.print(table)
    for trace in found.traces:
        if not trace.is_there and trace.recorded is not None:
            last = trace.recorded
            out.print(
                f"{escape(trace.product_id)} was erased on {last.erased_at:%Y-%m-%d %H:%M} "
                f"by {escape(last.erased_by)}; nothing is left of it",
                soft_wrap=True,
            )
        if not trace.is_there and trace.recorded is None:
            out.print(
                f"nothing is kept of {escape(trace.product_id)} but its row in the catalogue's table",
                soft_wrap=True,
            )
        for holder in sorted(trace.kept_in):
            err.print(
                f"[yellow]stays[/] {escape(trace.product_id)} in {escape(holder)}",
                soft_wrap=True,
            )


def _products(count: int) -> str:
    return "1 product" if count == 1 else f"{count} products"
