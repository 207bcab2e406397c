"""`vitrine disagreements`, `label`, `quality`, `corrections`: reviews of what contradicts the catalogue."""

import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.client.corrections import Format
from services.client.errors import ClientError
from services.client.options import Options
from services.client.review import Against, Verdict

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.client.ports import Disagreement
    from services.client.review import Quality
    from services.shared.catalogue_config import CatalogueConfig

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

corrections = typer.Typer(help="Bring reviewed values into the catalogue.", no_args_is_help=True)
labels = typer.Typer(help="Review predictions: accept, correct or dismiss them.", no_args_is_help=True)

Job = Annotated[str, typer.Argument(help="The id of a job.")]
Photo = Annotated[str, typer.Argument(metavar="PRODUCT_ID", help="The id of the product.")]
Head = Annotated[str, typer.Argument(help="The attribute, such as article_type.")]
By = Annotated[str | None, typer.Option(help="The reviewer. Default: the account that is signed in.")]
Comment = Annotated[str | None, typer.Option(help="Is kept with the verdict.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def disagreements(
    ctx: typer.Context,
    job: Annotated[
        str | None, typer.Argument(help="The id of a job. Default: the newest prediction of each photo.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="Only of this attribute.")] = None,
    unsure: Annotated[
        bool | None,
        typer.Option(
            "--unsure/--no-unsure", help="Only where the model is unsure, or only where it is sure."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the unreviewed disagreements between photos and catalogue.

    The declared values that the model finds least likely come first.
    """
    vitrine = _options(ctx).connect()
    if job is not None:
        vitrine.check_job(job, head)
    found = vitrine.tables.disagreements(job, head=head, unsure=unsure, limit=limit)
    if as_json:
        print(json.dumps([_row(doubt, vitrine.tables.config) for doubt in found], indent=2))
        return
    if not found:
        err.print("no unreviewed disagreements")
        return
    _print_disagreements(found)
    if len(found) == limit:
        err.print(f"the first {limit}; more with --limit")


@labels.command()
def accept(
    ctx: typer.Context, job: Job, photo: Photo, head: Head, by: By = None, comment: Comment = None
) -> None:
    """The model is right."""
    _judge(ctx, job, photo, head, "accepted", None, by, comment)


@labels.command()
def correct(
    ctx: typer.Context,
    job: Job,
    photo: Photo,
    head: Head,
    label: Annotated[
        str,
        typer.Argument(
            help="The truth; it may be a label that the model does not know. Of an attribute of several "
            "values all of them: 'Red|Blue'."
        ),
    ],
    by: By = None,
    comment: Comment = None,
) -> None:
    """The truth is another label than the model's."""
    _judge(ctx, job, photo, head, "corrected", label, by, comment)


@labels.command()
def dismiss(
    ctx: typer.Context, job: Job, photo: Photo, head: Head, by: By = None, comment: Comment = None
) -> None:
    """Nobody can tell from the photo: do not ask again."""
    _judge(ctx, job, photo, head, "dismissed", None, by, comment)


@labels.command("list")
def list_(
    ctx: typer.Context,
    job: Annotated[str | None, typer.Option(help="Only of this job.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the last verdict on each photo and attribute, the newest first."""
    found = _options(ctx).connect().tables.labels(job, limit)
    if as_json:
        print(json.dumps([label.model_dump(mode="json") for label in found], indent=2))
        return
    if not found:
        err.print("no reviews yet")
        return
    table = _table("photo", "head", "verdict", "truth", "the model said", "catalogue", "by", "at")
    for label in found:
        table.add_row(
            escape(label.product_id or label.image_uri),
            label.head,
            label.verdict,
            escape(label.label or ""),
            escape(label.predicted),
            escape(label.declared or ""),
            escape(label.judged_by),
            f"{label.judged_at:%Y-%m-%d %H:%M}",
        )
    out.print(table)


def quality(
    ctx: typer.Context,
    job: Job,
    head: Annotated[str, typer.Option(help="The attribute, such as article_type.")],
    against: Annotated[
        Against, typer.Option(help="The truth: what the catalogue declares, or what people said last.")
    ] = "catalogue",
    as_json: AsJson = False,
) -> None:
    """Compare a job with the catalogue or with people: precision, recall, F1, calibration."""
    vitrine = _options(ctx).connect()
    vitrine.check_job(job, head)
    found = vitrine.tables.quality(job, head, against)
    if as_json:
        print(json.dumps(asdict(found), indent=2))
    else:
        _print_quality(found)


@corrections.command("export")
def export_corrections(
    ctx: typer.Context,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="csv; merge: a MERGE statement for the catalogue's table in BigQuery; merchant-center: a "
            "supplemental feed for Google Merchant Center.",
        ),
    ],
    job: Annotated[str | None, typer.Option(help="Only what was reviewed in this job.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="Only what was reviewed at this time (UTC) or later.",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file. Default: stdout.", dir_okay=False)
    ] = None,
) -> None:
    """Export the reviewed values that differ from what the catalogue declared.

    Leaves out values that have changed in the catalogue since their review, and from a feed also values that
    Google's rules do not allow; lists them on stderr with the reasons.
    """
    from services.client.correction_exports import export

    vitrine = _options(ctx).connect()
    if job is not None:
        vitrine.check_job(job)
    found = vitrine.tables.corrections(job, since=since and since.replace(tzinfo=UTC))
    made = export(found, form, vitrine.tables.product_table)
    if out is None:
        sys.stdout.write(made.text)
    else:
        out.write_text(made.text, encoding="utf-8", newline="")
    for each in made.left_out:
        err.print(f"[yellow]left out[/] {escape(str(each))}", soft_wrap=True)
    counts = Counter(each.status for each in found)
    err.print(
        f"{len(found)} corrections: {counts['pending']} pending, {counts['applied']} already applied, "
        f"{len(made.left_out)} left out",
        soft_wrap=True,
    )


@corrections.command("view")
def corrected_view(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="PROJECT.DATASET.VIEW", help="The name of the new view.")],
) -> None:
    """Print a statement that creates a view of the catalogue with the reviewed values in place.

    For a table of your own or attributes of your own; of the bundled catalogue, catalogue_corrected is such a
    view. To create it: vitrine corrections view NAME | bq query --use_legacy_sql=false
    """
    from services.client.corrections_sql import create_view
    from services.shared.catalogue_config import TABLE

    if not re.fullmatch(TABLE, name):
        raise ClientError(f"expected a name such as shop.reports.catalogue_corrected (got {name!r})")
    products = _options(ctx).connect().tables.product_table
    if name == products.config.table:
        raise ClientError(f"{name} is the catalogue's own table; choose another name for the view")
    sys.stdout.write(create_view(name, products))


def _judge(
    ctx: typer.Context,
    job: str,
    photo: str,
    head: str,
    verdict: Verdict,
    label: str | None,
    by: str | None,
    comment: str | None,
) -> None:
    options = _options(ctx)
    vitrine = options.connect()
    judged = vitrine.judge(
        vitrine.result(job, photo), head, verdict, label=label, by=by or options.account(), comment=comment
    )
    truth = f": it is {escape(judged.label)}" if judged.label else ""
    product = escape(judged.product_id or "")
    out.print(f"{product} {head} {verdict}{truth}, by {escape(judged.judged_by)}", soft_wrap=True)


def _row(doubt: "Disagreement", config: "CatalogueConfig") -> dict[str, object]:
    from services.shared.catalogue import described

    prediction = doubt.prediction
    return {
        "job_id": prediction.job_id,
        "product_id": prediction.product_id,
        "image_uri": prediction.image_uri,
        **({"photo_number": doubt.decided_by} if doubt.decided_by else {}),
        "prediction_id": prediction.prediction_id,
        "model_version": prediction.model_version,
        "head": doubt.head,
        "label": doubt.label,
        "probability": doubt.probability,
        "declared": doubt.declared_label,
        "declared_probability": doubt.declared_probability,
        "unsure": doubt.unsure,
        "learnt": doubt.learnt,
        "product": described(doubt.declared, config),
    }


def _print_disagreements(found: Sequence["Disagreement"]) -> None:
    from services.client.report import LEARNT, UNSURE, percent, words

    table = _table("job", "photo", "head", "the photo shows", "", "catalogue", "", "name", "")
    for doubt in found:
        table.add_row(
            doubt.prediction.job_id,
            escape(doubt.prediction.product_id or "") + (f"@{doubt.decided_by}" if doubt.decided_by else ""),
            words(doubt.head),
            f"[yellow]{escape(doubt.label)}[/]",
            percent(doubt.probability),
            escape(doubt.declared_label),
            percent(doubt.declared_probability),
            escape(doubt.declared.display_name or ""),
            " ".join(["unsure"] * doubt.unsure + ["learnt"] * bool(doubt.learnt)),
        )
    out.print(table)
    if any(doubt.unsure for doubt in found):
        err.print(f"unsure: {UNSURE}", soft_wrap=True)
    if any(doubt.learnt for doubt in found):
        err.print(f"learnt: {LEARNT}", soft_wrap=True)


def _print_quality(found: "Quality") -> None:
    out.print(
        f"[bold]{found.job_id}[/] {found.head} against {found.against}: {found.photos} photos"
        + (f", {found.left_out} left out" if found.left_out else ""),
        soft_wrap=True,
    )
    if not found.photos:
        return
    out.print(
        f"accuracy {found.accuracy:.3f}; of the {found.coverage:.1%} where the model does not abstain "
        f"{found.answered_accuracy:.3f}; expected calibration error {found.ece:.3f}",
        soft_wrap=True,
    )
    table = _table("label", "support", "predicted", "precision", "recall", "F1")
    for each in found.classes:
        shares = [
            "-" if name in each.undefined else f"{share:.3f}"
            for name, share in (("precision", each.precision), ("recall", each.recall))
        ]
        table.add_row(escape(each.label), str(each.support), str(each.predicted), *shares, f"{each.f1:.3f}")
    table.add_section()
    table.add_row("mean", "", "", f"{found.precision:.3f}", f"{found.recall:.3f}", f"{found.f1:.3f}")
    out.print(table)
    wrong = [cell for cell in found.confusion if cell.truth != cell.predicted]
    if wrong:
        table = _table("truth", "predicted", "photos")
        for cell in sorted(wrong, key=lambda cell: -cell.photos)[:10]:
            table.add_row(escape(cell.truth), escape(cell.predicted), str(cell.photos))
        out.print(table)
    table = _table("confidence", "photos", "mean", "accuracy")
    for bin_ in found.bins:
        if bin_.photos:
            table.add_row(
                f"{bin_.lower:.1f} to {bin_.upper:.1f}",
                str(bin_.photos),
                f"{bin_.confidence:.3f}",
                f"{bin_.accuracy:.3f}",
            )
    out.print(table)


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def _options(ctx: typer.Context) -> Options:
    options: Options = ctx.obj
    return options
