"""`vitrine audit`: which labels of the whole catalogue are most likely wrong; wants the extra `audit`."""

import csv
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.client.errors import ClientError
from services.client.filters import FilterOption, filters_of
from services.client.options import Options
from services.model.manifest import DEFAULT_DIRECTORY, ModelError, load_manifest
from services.model.registry import Registry

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.audit.embedder import LiteRTEmbedder
    from services.client.client import Vitrine
    from services.client.ports import Audited
    from services.shared.audits import AuditRequest, AuditSummary
    from services.shared.catalogue_config import CatalogueConfig

TABLE_ROWS = 50

_OPTIONS = {"audit_id": "run", "attributes": "attribute"}  # where a field has another name

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

app = typer.Typer(help="Find the catalogue's wrong labels.", invoke_without_command=True)

Values = Annotated[list[str] | None, typer.Option(help="May be given several times.", show_default=False)]
Attributes = Annotated[
    list[str] | None,
    typer.Option(help="Only of this attribute; may be given several times.", show_default=False),
]
Top = Annotated[
    int | None,
    typer.Option(min=1, help=f"List so many labels. Default: {TABLE_ROWS} in a table, otherwise all."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


@app.callback()
def audit(
    ctx: typer.Context,
    run: Annotated[
        str | None,
        typer.Option(help="The audit's name; the same name continues it. Default: audit- and today's date."),
    ] = None,
    folds: Annotated[
        int, typer.Option(help="Parts, 2 to 20; each is judged by heads trained on the others.")
    ] = 5,
    attribute: Attributes = None,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION|FOLDER",
            help="The version of the model that embeds the photos. Default: the one in production.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(envvar="VITRINE_MODEL", help="The model's name. Default: the shipped model's."),
    ] = None,
    gender: Values = None,
    master_category: Values = None,
    sub_category: Values = None,
    article_type: Values = None,
    base_colour: Values = None,
    season: Values = None,
    usage: Values = None,
    start_year: Annotated[int | None, typer.Option(help="First year of the collection.")] = None,
    end_year: Annotated[int | None, typer.Option(help="Last year of the collection.")] = None,
    filter_: FilterOption = None,
    limit: Annotated[int | None, typer.Option(help="Audit a sample of at most so many products.")] = None,
    top: Top = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Find the catalogue's wrong labels: judge each product by heads that did not learn its label.

    Embeds all photos once, which takes the most time; prints the labels that are most likely wrong.
    """
    if ctx.invoked_subcommand is not None:
        return
    _check_form(as_json, as_csv)
    filters = {
        "gender": gender,
        "master_category": master_category,
        "sub_category": sub_category,
        "article_type": article_type,
        "base_colour": base_colour,
        "season": season,
        "usage": usage,
        "start_year": start_year,
        "end_year": end_year,
        "filters": filters_of(filter_),
        "limit": limit,
    }
    document = {
        "audit_id": run or f"audit-{date.today():%Y-%m-%d}",
        "filters": {name: value for name, value in filters.items() if value is not None},
        "folds": folds,
    }
    options: Options = ctx.obj
    request = _request(document | ({"attributes": attribute} if attribute else {}), options.catalogue())
    vitrine = _connect(ctx)
    with tempfile.TemporaryDirectory() as folder:
        summary = _run(ctx, request, vitrine, _Versions(vitrine, model, version, Path(folder)))
    _print(vitrine, summary, None, top, as_json=as_json, as_csv=as_csv)


@app.command()
def show(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="The audit's name.")],
    attribute: Annotated[str | None, typer.Option(help="Only of this attribute.")] = None,
    top: Top = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what came out of an audit: the labels that are most likely wrong, and that nobody has judged.

    All rows at once, as --json and --csv have them without --top, come in no order.
    """
    from services.shared.audits import find_manifest, find_summary

    _check_form(as_json, as_csv)
    vitrine = _connect(ctx)
    summary = find_summary(vitrine.objects, vitrine.bucket, run)
    if summary is None:
        begun = find_manifest(vitrine.objects, vitrine.bucket, run)
        raise ClientError(
            f"the audit {run!r} is not done yet: the same `vitrine audit --run {run}` continues it"
            if begun
            else f"there is no audit {run!r}"
        )
    if attribute is not None and attribute not in summary.attributes:
        raise ClientError(
            f"--attribute: the audit {run!r} has {', '.join(summary.attributes)} (got {attribute!r})"
        )
    _print(vitrine, summary, attribute, top, as_json=as_json, as_csv=as_csv)


# ------------------------------------------------------------------------------------- running


class _Versions:
    """Opens versions of the model, as `services.audit.job.Embedders` says."""

    def __init__(self, vitrine: "Vitrine", model: str | None, wanted: str | None, folder: Path) -> None:
        self._vitrine, self._model, self._wanted, self._folder = vitrine, model, wanted, folder

    def __call__(self, pinned: str | None) -> "LiteRTEmbedder":
        from services.audit.embedder import LiteRTEmbedder

        return LiteRTEmbedder(self._directory(pinned))

    def _directory(self, pinned: str | None) -> Path:
        if self._wanted is not None and Path(self._wanted).is_dir():
            return Path(self._wanted)
        shipped = load_manifest(DEFAULT_DIRECTORY)
        registry = Registry(self._vitrine.objects, self._vitrine.bucket, self._model or shipped.name)
        version = self._wanted or pinned
        if version is None and (pointer := registry.production()):
            version = pointer.version
        if version in (None, shipped.version):
            return DEFAULT_DIRECTORY
        directory = self._folder / str(version)
        registry.fetch(str(version), directory)
        return directory


def _request(document: dict[str, object], config: "CatalogueConfig") -> "AuditRequest":
    from pydantic import ValidationError

    from services.shared.audits import AuditRequest
    from services.shared.events import describe

    try:
        return AuditRequest.model_validate_json(json.dumps(document)).of_catalogue(config)
    except ValidationError as error:
        raise ClientError(_as_options(describe(error))) from error
    except ValueError as error:
        raise ClientError(_as_options(str(error))) from error


def _as_options(complaint: str) -> str:
    """Fields are options here: audit_id is --run, filters.start_year is --start-year."""
    return re.sub(
        r"(^|; )(?:filters\.)?([a-z_]+)(?=[:.])",
        lambda field: f"{field[1]}--{_OPTIONS.get(field[2], field[2]).replace('_', '-')}",
        complaint,
    )


def _run(
    ctx: typer.Context, request: "AuditRequest", vitrine: "Vitrine", versions: _Versions
) -> "AuditSummary":
    try:
        from services.audit.job import AuditError, Ports
        from services.audit.job import audit as run_job
    except ImportError as error:
        raise ClientError(f"{error.name} is missing: install the extra `audit`") from error
    from services.shared.google_bigquery import BigQueryCatalogue, BigQueryWarehouse

    options: Options = ctx.obj
    target = options.target()
    started = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        err.print(f"[dim]{minutes:3}:{seconds:02}[/] {escape(line)}", soft_wrap=True)

    ports = Ports(
        objects=vitrine.objects,
        catalogue=BigQueryCatalogue(target.project, target.dataset, target.catalogue),
        warehouse=BigQueryWarehouse(target.project, target.dataset),
        clock=lambda: datetime.now(UTC),
        bucket=vitrine.bucket,
    )
    try:
        return run_job(request, ports, versions, say)
    except (AuditError, ModelError) as error:
        raise ClientError(str(error)) from error


# ------------------------------------------------------------------------------------- printing


def _print(
    vitrine: "Vitrine",
    summary: "AuditSummary",
    attribute: str | None,
    top: int | None,
    *,
    as_json: bool,
    as_csv: bool,
) -> None:
    audit_id = summary.manifest.request.audit_id
    limit = top if as_json or as_csv else top or TABLE_ROWS
    found = vitrine.tables.audited(audit_id, head=attribute, limit=limit)
    if as_json:
        _write_json(vitrine.tables.config, summary, found)
    elif as_csv:
        _write_csv(found)
    else:
        _print_summary(summary)
        _print_table(found)
        err.print(f"more with `vitrine audit show {audit_id} --top N`, all with --json or --csv")


def _print_summary(summary: "AuditSummary") -> None:
    manifest = summary.manifest
    out.print(
        f"[bold]{manifest.request.audit_id}[/] {summary.usable} of {summary.products} products have a photo "
        f"that can be used; {summary.photos} photos, {summary.pictures} different pictures; "
        f"{manifest.request.folds} folds; model {manifest.model} {manifest.model_version}",
        soft_wrap=True,
    )
    for code, count in summary.errors.items():
        out.print(f"  [red]{code}[/] {count}")
    out.print(_learnt(summary), soft_wrap=True)
    table = Table(
        "attribute", "labels", "judged", "doubted", "not judged", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for attribute, each in summary.attributes.items():
        reasons = [*each.unjudged.items(), ("not declared", each.undeclared)]
        table.add_row(
            attribute,
            str(each.labels),
            str(each.judged),
            str(each.doubted),
            ", ".join(f"{reason} {count}" for reason, count in reasons if count),
        )
    out.print(table)


def _learnt(summary: "AuditSummary") -> str:
    """Whether the network itself may have learnt the labels that are audited."""
    version = summary.manifest.model_version
    if summary.learnt is None:
        return (
            f"It is not known which photos version {version} was trained on. If these are among them, it may "
            "have learnt their wrong labels, and the audit then finds fewer of them."
        )
    if not summary.learnt:
        return f"Version {version} was trained on none of these photos: its embeddings are impartial."
    return (
        f"[yellow]Version {version} was trained on photos of {summary.learnt} of these products.[/] It may "
        "have learnt their wrong labels, and the audit then finds fewer of them. They are marked `learnt`; "
        "--version chooses the embeddings of another version."
    )


def _print_table(found: Iterable["Audited"]) -> None:
    from services.client.report import percent, words

    table = Table(
        *("photo", "attribute", "catalogue", "", "the photo shows", "", "learnt", "name"),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for each in found:
        label = each.label
        table.add_row(
            escape(label.product_id),
            words(label.head),
            f"[yellow]{escape(label.declared)}[/]",
            _unlikely(label.probability or 0),
            escape(label.best or ""),
            percent(label.best_probability or 0),
            "learnt" if label.learnt else "",
            escape((each.product and each.product.display_name) or ""),
        )
    out.print(table)


def _unlikely(probability: float) -> str:
    from services.client.report import percent

    return "<1 %" if probability < 0.005 else percent(probability)


def _write_json(config: "CatalogueConfig", summary: "AuditSummary", found: Iterable["Audited"]) -> None:
    """One document, written row by row: a catalogue may have more rows than memory."""
    from services.shared.catalogue import described

    sys.stdout.write(json.dumps({"summary": summary.model_dump(mode="json")})[:-1] + ', "labels": [')
    for number, each in enumerate(found):
        product = described(each.product, config) if each.product else None
        row = each.label.model_dump(mode="json") | {"product": product}
        sys.stdout.write((",\n" if number else "\n") + json.dumps(row))
    sys.stdout.write("\n]}\n")


def _write_csv(found: Iterable["Audited"]) -> None:
    from services.shared.audits import AuditedLabel

    writer = csv.writer(sys.stdout)
    writer.writerow([*AuditedLabel.model_fields, "display_name"])
    for each in found:
        name = each.product.display_name if each.product else None
        writer.writerow([*each.label.model_dump(mode="json").values(), name])


def _check_form(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise typer.BadParameter("only one of --json and --csv")


def _connect(ctx: typer.Context) -> "Vitrine":
    options: Options = ctx.obj
    return options.connect()
