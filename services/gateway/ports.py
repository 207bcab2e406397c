"""What the gateway needs of the world."""

from dataclasses import dataclass

from services.client.client import Vitrine
from services.model.registry import Registry
from services.shared.ports import Clock, Warehouse


@dataclass(frozen=True)
class Ports:
    """The pipeline as a client has it, the registry, and the tables that the gateway itself writes."""

    vitrine: Vitrine
    registry: Registry
    warehouse: Warehouse  # appends to `labels` and `audit`
    clock: Clock
