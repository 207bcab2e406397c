"""`vitrine`: the pipeline from a terminal. Answers go to stdout, progress and complaints to stderr."""

import csv
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from services.client import audit, catalogue, erasing_cli, feedback, keys, models, training, upgrading
from services.client.errors import ClientError
from services.client.filters import FilterOption, filters_of
from services.client.options import Options
from services.client.target import Names

if TYPE_CHECKING:
    # At run time they are imported where they are used: `--help` should not wait for Google's clients.
    from services.client.client import JobResults, Status, Vitrine
    from services.shared.catalogue_config import CatalogueConfig
    from services.shared.events import Prediction

TABLE_ROWS = 50
PAGE_ROWS = 500
GLOBAL_OPTIONS = ("--project", "--bucket", "--upload-bucket", "--dataset", "--catalogue", "--home")

out = Console()
err = Console(stderr=True, highlight=False)


class Commands(TyperGroup):
    """The commands. The options of all of them stand before or after a command's name, as with gcloud."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Moves the options of all commands to the front."""
        front, rest, remaining = [], [], iter(args)
        for argument in remaining:
            if argument == "--":
                rest += [argument, *remaining]
            elif argument in GLOBAL_OPTIONS:
                front += [argument, *islice(remaining, 1)]
            elif argument.partition("=")[0] in GLOBAL_OPTIONS:
                front.append(argument)
            else:
                rest.append(argument)
        return super().parse_args(ctx, front + rest)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command; whatever its user can do something about is a line and not a traceback."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has seen enough; the interpreter must not try to flush it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except Exception as error:
            complaint = _complaint(error)
            if complaint is None:
                raise
            err.print(f"[bold red]error:[/] {escape(complaint)}", soft_wrap=True)
            raise typer.Exit(1) from None


def _complaint(error: Exception) -> str | None:
    """What to tell of an error; None for one that is a defect of ours."""
    if isinstance(error, ClientError):
        return str(error)
    if isinstance(error, OSError):  # files, and what `requests` raises
        named = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return " ".join(named.split())
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    if isinstance(error, GoogleAPIError | GoogleAuthError):
        return " ".join(str(getattr(error, "message", error)).split())
    return None


app = typer.Typer(
    cls=Commands,
    help="Classifies a shop's product photos and tells where its catalogue is wrong.",
    epilog="The options above go before or after a command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(catalogue.app, name="catalogue")
app.command("import", help=catalogue.IMPORT_HELP)(catalogue.import_)
models.app.command("savedmodel")(training.saved_model)
app.command()(training.train)
app.command()(feedback.disagreements)
app.add_typer(feedback.labels, name="label")
app.add_typer(feedback.corrections, name="corrections")
app.command()(feedback.quality)
app.command(help=erasing_cli.HELP)(erasing_cli.erase)
app.command(help=upgrading.HELP)(upgrading.upgrade)


@app.callback()
def options(
    ctx: typer.Context,
    project: Annotated[
        str | None, typer.Option(help="A Google Cloud project. Default: the local cloud.")
    ] = None,
    bucket: Annotated[
        str | None, typer.Option(help="Default: VITRINE_BUCKET, or <project>-vitrine.", show_default=False)
    ] = None,
    upload_bucket: Annotated[
        str | None, typer.Option(help="Default: VITRINE_UPLOAD_BUCKET, or <project>-vitrine-uploads.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Default: VITRINE_DATASET, or vitrine.")] = None,
    catalogue_file: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            metavar="FILE",
            help="A catalogue.yaml. Default: the text in VITRINE_CATALOGUE, or the bundled catalogue.",
        ),
    ] = None,
    home: Annotated[
        Path, typer.Option(envvar="VITRINE_HOME", help="The folder of the local cloud's state.")
    ] = Path(".vitrine"),
) -> None:
    """Keeps what all commands share."""
    ctx.obj = Options(Names(project, bucket, upload_bucket, dataset, catalogue_file), home.resolve())


# ------------------------------------------------------------------------------------- the local cloud


@app.command()
def up(
    ctx: typer.Context,
    attach: Annotated[bool, typer.Option("--attach", help="Run in the foreground until Ctrl-C.")] = False,
    first_port: Annotated[
        int | None, typer.Option(min=1024, max=65000, help="Listen on this and the next ports.")
    ] = None,
) -> None:
    """Start the local cloud; returns when everything is ready."""
    with _local() as local:
        cloud = local.LocalCloud(ctx.obj.home, first_port or local.FIRST_PORT)
        if (catalogue := ctx.obj.names.catalogue) and not local.running(ctx.obj.home):
            cloud.use_catalogue(catalogue)
        if running := local.running(ctx.obj.home):
            if first_port not in (None, running.first_port):
                raise ClientError(f"it runs already, from port {running.first_port}: `vitrine down` first")
            err.print(f"it runs already, its state is in {running.home}\n{running.welcome}", soft_wrap=True)
        elif attach:
            cloud.run()
        else:
            with err.status("starting the local cloud") as status:
                local.up(cloud, lambda line: status.update(escape(line)))
            err.print(
                f"ready; `vitrine env` says how to reach it, its state is in {cloud.home}\n{cloud.welcome}",
                soft_wrap=True,
            )


@app.command()
def down(ctx: typer.Context) -> None:
    """Stop the local cloud; its state stays."""
    with _local() as local, err.status("stopping the local cloud"):
        stopped = local.down(ctx.obj.home)
    err.print("stopped" if stopped else f"nothing runs from {ctx.obj.home}")


@app.command()
def env(ctx: typer.Context) -> None:
    """Print what any Google Cloud client needs to reach the local cloud: eval "$(vitrine env)"."""
    with _local() as local:
        cloud = local.running(ctx.obj.home)
    if cloud is None:
        raise ClientError(f"no local cloud runs from {ctx.obj.home}: start it with `vitrine up`")
    for name, value in cloud.environment.items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def logs(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="A service or an emulator, or `cloud`.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Print a log of the local cloud."""
    folder = ctx.obj.home / "logs"
    logs = {log.stem: log for log in folder.glob("*.log")}
    if service not in logs:
        raise ClientError(
            f"there is no log of {service!r}; there are: {', '.join(sorted(logs))}"
            if logs
            else f"there are no logs in {folder}: start the local cloud with `vitrine up`"
        )
    with logs[service].open(errors="replace") as log:
        while True:
            for line in log:
                sys.stdout.write(line)
            sys.stdout.flush()
            if not follow:
                return
            time.sleep(0.2)


@contextmanager
def _local() -> Iterator[Any]:
    """The module services.local.cloud, whose errors become ours."""
    try:
        from services.local import cloud
        from services.local.processes import LocalCloudError
    except ImportError as error:
        raise ClientError(
            f"the local cloud needs the extra `local` ({error.name} is missing): pip install 'vitrine[local]'"
        ) from error
    try:
        yield cloud
    except LocalCloudError as error:
        raise ClientError(str(error)) from error


# ------------------------------------------------------------------------------------- jobs

Values = Annotated[list[str] | None, typer.Option(help="May be given several times.", show_default=False)]


@app.command()
def request(
    ctx: typer.Context,
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
    limit: Annotated[int | None, typer.Option(help="At most so many products.")] = None,
    classify: Annotated[str | None, typer.Option(help="originals, augmented, both or none.")] = None,
    augmentation: Annotated[
        str | None, typer.Option(metavar="FILE|JSON", help="How to augment the photos.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model version. Default: the one in production.")
    ] = None,
    job_id: Annotated[str | None, typer.Option(help="Default: job- and the id of the message.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="A request as JSON; flags override what it says.", allow_dash=True)
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the job until it is completed.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 3600,
) -> None:
    """Request a classification job; prints its id."""
    from services.client.client import parse_request

    flags = {
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
        "classify": classify,
        "augmentation": _json("--augmentation", augmentation) if augmentation is not None else None,
        "model": model,
        "job_id": job_id,
    }
    document = {name: value for name, value in flags.items() if value is not None}
    if file is not None:
        given = _json("--file", sys.stdin.read() if str(file) == "-" else file.read_text())
        document = given | document if isinstance(given, dict) else given
    accepted = parse_request(json.dumps(document))
    vitrine = _connect(ctx)
    job = vitrine.request(accepted)
    _asked(vitrine, job, timeout if wait else None)


@app.command()
def retry(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The id of a job that is done.")],
    wait: Annotated[bool, typer.Option("--wait", help="Watch the new job until it is completed.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 3600,
) -> None:
    """Retry the products that failed in a job, with their current photos; prints the new job's id."""
    vitrine = _connect(ctx)
    _asked(vitrine, vitrine.retry(job), timeout if wait else None)


@app.command()
def classify(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The id of a completed job: what it prepared is classified.")],
    classify: Annotated[str, typer.Option(help="originals, augmented or both.")] = "originals",
    model: Annotated[
        str | None, typer.Option(help="The model version. Default: the one in production.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the new job until it is completed.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 3600,
) -> None:
    """Classify the photos that another job prepared, without copying them; prints the new job's id."""
    vitrine = _connect(ctx)
    _asked(vitrine, vitrine.classify_prepared(job, classify, model), timeout if wait else None)


@app.command()
def jobs(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    after: Annotated[str | None, typer.Option(help="Go on where another list ended, as it says.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the jobs, newest first."""
    page = _connect(ctx).jobs(limit, after)
    if as_json:
        listed = [
            {"status": job.status, "job": job.manifest.model_dump(mode="json", exclude_defaults=True)}
            for job in page.jobs
        ]
        print(json.dumps({"jobs": listed, "after": page.after}, indent=2))
        return
    table = Table(
        "job", "requested", "status", "products", "predictions", "errors", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for job in page.jobs:
        done = job.completed
        counts = (str(done.predictions), str(done.errors)) if done else ("", "")
        requested = f"{job.manifest.requested_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(job.job_id, requested, job.status, str(job.manifest.images), *counts)
    out.print(table)
    if page.after:
        err.print(f"more: vitrine jobs --after {page.after}", soft_wrap=True)


@app.command()
def watch(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The id of a job.")],
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 3600,
) -> None:
    """Follow a job until it is completed."""
    _watch(_connect(ctx), job, timeout)


@app.command()
def cancel(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The id of a job.")],
    wait: Annotated[bool, typer.Option(help="Watch it end.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 600,
) -> None:
    """End a job before it is done; what is classified already stays."""
    vitrine = _connect(ctx)
    vitrine.cancel(job)
    if wait:
        _watch(vitrine, job, timeout)


@app.command()
def results(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(help="The id of a job.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.", dir_okay=False)] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help=f"Rows: else {TABLE_ROWS} in a table, {PAGE_ROWS} in a page, else all."),
    ] = None,
) -> None:
    """Show what came out of a job: disagreements first, then photos with errors, then the others.

    Of the disagreements, those come first whose declared value the model finds least likely. All rows at
    once, as --json and --csv have them without --limit, come in no order.
    """
    if as_json + as_csv + (html is not None) > 1:
        raise typer.BadParameter("only one of --json, --csv and --html")
    vitrine = _connect(ctx)
    if as_json or as_csv:
        answer = vitrine.results(job, limit)
        if as_json:
            _write_json(answer, vitrine.tables.config)
        else:
            _write_csv(answer)
    elif html is not None:
        from services.client.report import render

        html.write_text(render(vitrine.results(job, limit or PAGE_ROWS), vitrine.objects))
        err.print(f"written to {html}", soft_wrap=True)
    else:
        _print_results(vitrine.results(job, limit or TABLE_ROWS))


def _asked(vitrine: "Vitrine", job: str, timeout: float | None) -> None:
    """Says which job was asked for; with a timeout, watches it for so long."""
    print(job, flush=True)
    if timeout is not None:
        _watch(vitrine, job, timeout)


def _watch(vitrine: "Vitrine", job: str, timeout: float) -> None:
    status: Status | None = None
    with catalogue.progress() as progress:
        bars: dict[str, Any] = {}
        for status in vitrine.watch(job, timeout=timeout):
            for stage in status.stages:
                if stage.name not in bars:
                    bars[stage.name] = progress.add_task(stage.name, total=None, unit=stage.unit)
                progress.update(bars[stage.name], total=stage.total, completed=stage.done)
    if status is not None and (completed := status.completed) is not None:
        if completed.status == "empty":
            raise ClientError(f"job {job} is empty: no product of the catalogue matches the request")
        took = (completed.completed_at - completed.requested_at).total_seconds()
        err.print(
            f"job {job} is {completed.status}: {completed.images} products, "
            f"{completed.predictions} predictions, {completed.errors} errors, in {took:.1f} s; "
            f"see `vitrine results {job}`",
            soft_wrap=True,
        )


def _print_results(answer: "JobResults") -> None:
    from services.client.report import misfits_of, percent, words

    tally, manifest = answer.tally, answer.manifest
    state = answer.completed.status if answer.completed else "not completed: this is what is recorded so far"
    out.print(
        f"[bold]{manifest.job_id}[/] {state}, model {manifest.model} {manifest.model_version}", soft_wrap=True
    )
    out.print(
        f"{f'{tally.products} products, ' if tally.several else ''}{tally.photos} photos, "
        f"{tally.predictions} predictions, "
        f"[yellow]{tally.disagreements} disagree with the catalogue[/]"
        + (f" (the model is unsure of {tally.unsure})" if tally.unsure else "")
        + f", {sum(tally.errors.values())} errors",
        soft_wrap=True,
    )
    for code, count in tally.errors.items():
        out.print(f"  [red]{code}[/] {count}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("photo", no_wrap=True)
    table.add_column("what it shows")
    table.add_column("declared instead")
    shown = 0
    for result in answer.rows:
        prediction = result.prediction
        # As its object is called: 10001-0.jpg is the first variant of 10001.jpg.
        copy = prediction.variant.removeprefix("original").removeprefix("augmented")
        number = f"@{prediction.photo_number}" if prediction.photo_number else ""
        photo = escape(f"{prediction.product_id}{number}{copy}")
        if prediction.combined:
            photo += " [dim]all photos[/]"
        if prediction.unfamiliar:
            photo += " [magenta]unfamiliar[/]"
        for misfit in misfits_of(prediction):
            photo += f"\n[magenta]{escape(misfit)}[/]"
        answers, declared = [], []
        for head in tally.heads:
            best = next((f"{one.label} {percent(one.probability)}" for one in result.labels(head)), "")
            said = f"{words(head)} {escape(best)}"
            if head in prediction.abstained:
                said = f"[dim]{words(head)} not sure, {escape(best)}[/]"
            if head in result.disagreements:
                said = f"[yellow]{said}[/]"
                declared.append(f"{words(head)} {escape(result.declared_label(head) or '')}")
            answers.append(said)
        if prediction.error:
            answers = [f"[red]{prediction.error}[/]"]
        table.add_row(photo, "; ".join(answers), "; ".join(declared))
        shown += 1
    out.print(table)
    if shown < tally.rows:
        out.print(
            f"{shown} of {tally.rows} rows; more with --limit, all with --json or --csv", soft_wrap=True
        )


def _write_json(answer: "JobResults", config: "CatalogueConfig") -> None:
    """One document, written row by row: a job may have more rows than memory."""
    from services.shared.catalogue import described

    head = {
        "job": answer.manifest.model_dump(mode="json", exclude_defaults=True),
        "completed": answer.completed is not None,
        "status": answer.completed.status if answer.completed else "running",
        "summary": asdict(answer.tally),
    }
    sys.stdout.write(json.dumps(head)[:-1] + ', "results": [')
    for number, result in enumerate(answer.rows):
        sys.stdout.write(",\n" if number else "\n")
        sys.stdout.write(
            json.dumps(
                result.prediction.model_dump(mode="json")
                | {
                    # What the catalogue says today; `declared_labels`: what it said when this was classified.
                    "declared": described(result.declared, config) if result.declared else None,
                    "declared_labels": [each.model_dump() for each in result.prediction.declared],
                    "disagreements": result.disagreements,
                }
            )
        )
    sys.stdout.write("\n]}\n")


def _write_csv(answer: "JobResults") -> None:
    heads = answer.tally.heads
    columns = [
        column
        for head in heads
        for column in (
            f"declared_{head}",
            f"declared_{head}_probability",
            head,
            f"{head}_probability",
        )
    ]
    writer = csv.writer(sys.stdout)
    fixed_columns = ["product_id", "variant", "image_uri", "error"]
    told_columns = ["disagreements", "abstained", "unfamiliar", "learnt"]
    several = ["photo_number", *(f"{head}_decided_by" for head in heads), "misfits"]
    writer.writerow([*fixed_columns, *told_columns, *columns, *(several if answer.tally.several else ())])
    for result in answer.rows:
        prediction = result.prediction
        values: list[object] = []
        for head in heads:
            best = next(iter(result.labels(head)), None)
            values += [result.declared_label(head), result.declared_probability(head)]
            values += [best and best.label, best and best.probability]
        fixed = [prediction.product_id, prediction.variant, prediction.image_uri, prediction.error]
        told = [" ".join(result.disagreements), " ".join(prediction.abstained)]
        if answer.tally.several:
            values += [prediction.photo_number, *(prediction.decided_by(head) for head in heads)]
            values.append(" ".join(f"{each.head}:{each.photo_number}" for each in prediction.misfits))
        writer.writerow([*fixed, *told, prediction.unfamiliar, prediction.learnt, *values])


# ------------------------------------------------------------------------------------- single photos


@app.command()
def upload(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, readable=True)],
    wait: Annotated[bool, typer.Option(help="Wait for the predictions.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=0)] = 60,
) -> None:
    """Drop photos into the upload bucket and print what the model says of them."""
    from services.shared.layout import is_litter
    from services.shared.parallel import in_parallel

    vitrine = _connect(ctx)
    photos = [file for file in files if not is_litter(file.name)]
    for file in files:
        if file not in photos:
            err.print(f"skipped, because it is not a photo: {escape(str(file))}")
    uploads = in_parallel(vitrine.upload, photos)
    if not wait:
        for uploaded in uploads:
            print(uploaded.uri)
        return
    with err.status("waiting for the predictions"):
        for uploaded in uploads:
            prediction = vitrine.await_prediction(uploaded, timeout=timeout)
            out.print(
                f"[bold]{escape(str(uploaded.path))}[/] {_said(prediction)}", soft_wrap=True, highlight=False
            )


def _said(prediction: "Prediction") -> str:
    from services.client.report import percent, words

    if prediction.error:
        return f"[red]{prediction.error}[/]"
    heads = dict.fromkeys(label.head for label in prediction.heads)
    unfamiliar = (
        "[magenta]unlike the photos that the model was trained on[/]; " if prediction.unfamiliar else ""
    )
    return unfamiliar + "; ".join(
        f"{words(head)}: "
        + ("not sure, " if head in prediction.abstained else "")
        + ", ".join(
            f"{escape(label.label)} {percent(label.probability)}"
            for label in prediction.heads
            if label.head == head
        )
        for head in heads
    )


# ------------------------------------------------------------------------------------- rejected messages


@app.command()
def rejected(
    ctx: typer.Context,
    job: Annotated[str | None, typer.Option(help="Only messages of this job.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the messages that were rejected, or given up after their attempts."""
    messages = _connect(ctx).rejected(job)
    if as_json:
        rows = [asdict(message.rejection) | {"replayed": message.replayed} for message in messages]
        print(json.dumps(rows, default=str, indent=2))
        return
    if not messages:
        err.print("no message was rejected")
        return
    for message in messages:
        rejection = message.rejection
        state = "[green]replayed[/]" if message.replayed else "[red]rejected[/]"
        out.print(
            f"[bold]{rejection.rejection_id}[/] {state} {rejection.rejected_at:%Y-%m-%d %H:%M:%S} "
            f"{rejection.topic or 'unknown topic'} by {rejection.subscription}, "
            f"{rejection.attempts} attempts{f', job {rejection.job_id}' if rejection.job_id else ''}",
            soft_wrap=True,
            highlight=False,
        )
        out.print(f"  {escape(rejection.reason)}", soft_wrap=True, highlight=False)


@app.command()
def replay(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
) -> None:
    """Publish rejected messages again, as they were; prints the ids of the new messages."""
    if bool(ids) == every:
        raise typer.BadParameter("name rejected messages by their ids, or all of them with --all")
    vitrine = _connect(ctx)
    found = [vitrine.rejected(rejection_id=name) for name in ids] if ids else [vitrine.rejected()]
    if unknown := [name for name, messages in zip(ids or (), found, strict=False) if not messages]:
        raise ClientError(f"no rejected message has the id {', '.join(unknown)}")
    for message in chain.from_iterable(found):
        if message.replayed:
            if ids:
                err.print(f"{message.rejection.rejection_id} was replayed already")
            continue
        print(vitrine.replay(message), flush=True)


# ------------------------------------------------------------------------------------- shared by commands


def _connect(ctx: typer.Context) -> "Vitrine":
    options: Options = ctx.obj
    return options.connect()


def _json(option: str, given: str) -> Any:
    """A JSON document; of the augmentation also the name of a file with one."""
    if option == "--augmentation" and not given.lstrip().startswith("{"):
        given = Path(given).read_text()
    try:
        return json.loads(given)
    except ValueError as error:
        raise ClientError(f"{option}: not JSON: {error}") from error


if __name__ == "__main__":
    app()
