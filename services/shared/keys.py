"""API keys `vtr_<id>_<secret>`: a file of their hashes, which the gateway reads and `vitrine keys` writes."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, TypeAdapter

type Role = Literal["viewer", "operator", "reviewer", "admin"]

PREFIX = "vtr_"


class ApiKey(BaseModel):
    """What is kept of a key: everything but its secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    # Two keys may have one name: while clients move from the old one to the new.
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    role: Role
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # of the secret
    created: AwareDatetime
    expires: AwareDatetime | None = None

    def opens_with(self, secret: str) -> bool:
        """Whether this is its secret; takes as long for a wrong one as for the right one."""
        return hmac.compare_digest(_hash(secret), self.sha256)

    def expired(self, now: datetime) -> bool:
        """Whether it is over."""
        return self.expires is not None and self.expires <= now


_KEYS = TypeAdapter(tuple[ApiKey, ...])


def make_key(name: str, role: Role, created: datetime, expires: datetime | None) -> tuple[ApiKey, str]:
    """A new key, and the whole of it as its user is given it, once.

    Raises:
        pydantic.ValidationError: a name or a role that is none.

    """
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(id=key_id, name=name, role=role, sha256=_hash(secret), created=created, expires=expires)
    return key, f"{PREFIX}{key_id}_{secret}"


def split_key(credential: str) -> tuple[str, str]:
    """The id and the secret of a whole key; of what is none, texts that fit no key."""
    key_id, _, secret = credential.removeprefix(PREFIX).partition("_")
    return key_id, secret


def read_keys(data: bytes) -> tuple[ApiKey, ...]:
    """The keys of a file's bytes.

    Raises:
        pydantic.ValidationError: it is not a list of keys.

    """
    return _KEYS.validate_json(data)


def write_keys(path: Path, keys: Iterable[ApiKey]) -> None:
    """Replaces the file in one step: who reads it sees all of the old keys or all of the new."""
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_bytes(_KEYS.dump_json(tuple(keys), indent=2, exclude_none=True) + b"\n")
    partial.replace(path)


def _hash(secret: str) -> str:
    # The secret has 256 random bits: there is nothing to guess that a slow hash would make slower.
    return hashlib.sha256(secret.encode()).hexdigest()
