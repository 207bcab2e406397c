"""`vitrine upgrade`: makes the tables of release 0.1 what this release expects."""

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from services.client.errors import ClientError
from services.client.options import Options
from services.shared.parallel import in_parallel

err = Console(stderr=True, highlight=False)

HELP = "\n\n".join(
    [
        "Upgrade the tables of release 0.1, where a product's id was a number.",
        "Run it once, before `terraform apply` of this release, when no job runs and nobody reviews. "
        "BigQuery keeps the old tables for seven days, as it does with all that is deleted.",
        "You can repeat the command at any time; an interrupted upgrade continues. It needs your own rights "
        "to create and delete tables. The local cloud upgrades its own tables.",
    ]
)


def upgrade(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Upgrade the tables of release 0.1."""
    from services.shared.google_bigquery import bigquery_client
    from services.shared.google_upgrade import UpgradeError
    from services.shared.google_upgrade import upgrade as upgrade_tables

    options: Options = ctx.obj
    vitrine, target = options.connect(), options.target()
    jobs = vitrine.objects.folders(f"gs://{vitrine.bucket}/jobs/")
    if waiting := [each for each in in_parallel(vitrine.open_job, jobs) if each]:
        raise ClientError(f"nothing was upgraded: {'; '.join(waiting)}")
    dataset = f"{target.project}.{target.dataset}"
    if not yes:
        typer.confirm(f"Upgrade the tables of {dataset}?", abort=True, err=True)
    try:
        upgraded = upgrade_tables(
            bigquery_client(target.project, target.dataset), dataset, lambda line: err.print(escape(line))
        )
    except UpgradeError as error:
        raise ClientError(str(error)) from error
    if not upgraded:
        err.print("All tables are of this release; nothing was changed.")
