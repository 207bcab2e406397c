"""Who asks, and what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from services.shared.keys import Role

type Right = Literal["read", "operate", "review", "administer"]
type Credential = Literal["id-token", "api-key", "session"]

RIGHTS: Mapping[Role, frozenset[Right]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "operate"}),
    "reviewer": frozenset({"read", "review"}),
    "admin": frozenset({"read", "operate", "review", "administer"}),
}


@dataclass(frozen=True)
class Identity:
    """Somebody whose credential was verified."""

    name: str  # an e-mail address, or `key:<name>`
    roles: frozenset[Role]
    credential: Credential

    def may(self, right: Right) -> bool:
        """Whether one of the roles has the right."""
        return any(right in RIGHTS[role] for role in self.roles)
