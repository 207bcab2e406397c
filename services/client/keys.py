"""`vitrine keys`: the API keys that a gateway takes, in a file of their hashes.

A key is renewed by adding a second one of its name, moving its clients to that, and removing the first. The
local gateway sees each change at once; on Google Cloud the file is a new version of a secret.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, get_args

import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Table

from services.client.errors import ClientError
from services.client.options import Options
from services.shared.keys import ApiKey, Role, make_key, read_keys, write_keys

app = typer.Typer(help="The API keys of the gateway: add, list, remove.", no_args_is_help=True)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ROLES = get_args(Role.__value__)
File = Annotated[
    Path | None, typer.Option("--file", help="The key file. Default: the local cloud's.", dir_okay=False)
]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is: small letters, digits and -._")],
    role: Annotated[str, typer.Option(help=f"{', '.join(ROLES[:-1])} or {ROLES[-1]}.")],
    file: File = None,
    expires: Annotated[
        int | None, typer.Option(metavar="DAYS", min=1, max=3650, help="Default: never.")
    ] = None,
) -> None:
    """Make a key; prints it, and nobody can ever print it again."""
    path = _path(ctx, file)
    keys = _read(path)
    now = datetime.now(UTC)
    try:
        # The model refuses what is no role.
        key, credential = make_key(name, role, now, now + timedelta(days=expires) if expires else None)  # type: ignore[arg-type]
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        expected = f"one of {', '.join(ROLES)}" if field == "role" else "small letters, digits and -._"
        raise ClientError(
            f"{field}: expected {expected}, got {role if field == 'role' else name!r}"
        ) from error
    write_keys(path, [*keys, key])
    print(credential)
    err.print(f"added to {path}; this was the only time that its secret is shown", soft_wrap=True)


@app.command("list")
def list_(ctx: typer.Context, file: File = None) -> None:
    """List the keys, the oldest first."""
    table = Table("id", "name", "role", "created", "expires", box=box.SIMPLE_HEAD, pad_edge=False)
    now = datetime.now(UTC)
    for key in sorted(_read(_path(ctx, file)), key=_age):
        expires = "never" if key.expires is None else f"{key.expires:%Y-%m-%d}"
        over = " [red]expired[/]" if key.expired(now) else ""
        table.add_row(key.id, key.name, key.role, f"{key.created:%Y-%m-%d}", expires + over)
    out.print(table)


@app.command()
def remove(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `vitrine keys list` shows it.")],
    file: File = None,
) -> None:
    """Remove a key; its sessions in the console end, too."""
    path = _path(ctx, file)
    keys = _read(path)
    left = [key for key in keys if key.id != key_id]
    if len(left) == len(keys):
        raise ClientError(f"there is no key {key_id!r} in {path}")
    write_keys(path, left)
    err.print(f"removed from {path}", soft_wrap=True)


def _age(key: ApiKey) -> datetime:
    return key.created


def _path(ctx: typer.Context, file: Path | None) -> Path:
    options: Options = ctx.obj
    return file or options.home / "api-keys.json"


def _read(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file; none where there is no file yet."""
    try:
        return read_keys(path.read_bytes())
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        raise ClientError(f"{path} is not a file of API keys") from error
