"""A gateway in this process: its keys, and the pipeline in memory behind it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from pydantic import JsonValue

from services.gateway.app import create_app
from services.gateway.ports import Ports
from services.gateway.settings import Settings
from services.gateway.tokens import Groups
from services.model.registry import Registry
from services.shared.keys import ApiKey, Role, make_key, write_keys
from tests.unit.client_world import NOW, World
from tests.unit.memory_pipeline import BUCKET

URL = "https://vitrine.example"
ENVIRONMENT: Mapping[str, JsonValue] = {
    "GOOGLE_CLOUD_PROJECT": "project",
    "VITRINE_BUCKET": BUCKET,
    "VITRINE_UPLOAD_BUCKET": "uploads",
    "VITRINE_DATASET": "vitrine",
    "VITRINE_MODEL": "fashion",
    "VITRINE_MODEL_VERSION": "7",
    "VITRINE_GATEWAY_URL": URL,
    "VITRINE_SESSION_SECRET": "0123456789abcdef0123456789abcdef",
}


class Gateway:
    """A gateway with an API key of each role.

    Args:
        folder: of the file of keys.
        world: what is behind it.
        groups: says who is in a group.
        environment: settings beside those that every gateway has.

    """

    def __init__(
        self,
        folder: Path,
        world: World | None = None,
        groups: Groups | None = None,
        **environment: JsonValue,
    ) -> None:
        self.key_file = folder / "api-keys.json"
        self.keys: list[ApiKey] = []
        self.secrets: dict[Role, str] = {}
        roles: tuple[Role, ...] = ("viewer", "operator", "reviewer", "admin")
        for role in roles:
            key, self.secrets[role] = make_key(role, role, datetime.now(UTC), None)
            self.keys.append(key)
        write_keys(self.key_file, self.keys)
        self.world = world or World()
        self.settings = Settings.model_validate(
            {**ENVIRONMENT, "VITRINE_API_KEYS": str(self.key_file), **environment}
        )
        self.ports = Ports(
            vitrine=self.world.vitrine,
            registry=Registry(self.world.objects, BUCKET, "fashion"),
            warehouse=self.world.pipeline.warehouse,
            clock=lambda: NOW,
        )
        self.app = create_app(self.settings, lambda: self.ports, groups)

    def client(self, role: Role | None = None, *, bearer: str | None = None) -> TestClient:
        """A client with the API key of a role, another bearer credential or none; follows no redirection."""
        bearer = self.secrets[role] if role else bearer
        headers = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
        return TestClient(self.app, self.settings.url, headers=headers, follow_redirects=False)

    def audit(self) -> list[Mapping[str, Any]]:
        """The rows of the table."""
        return self.world.pipeline.warehouse.tables.get("audit", [])
