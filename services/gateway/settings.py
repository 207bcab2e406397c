"""The gateway's settings."""

import json
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_settings import NoDecode

from services.gateway.cost import Prices
from services.shared import settings
from services.shared.catalogue_config import bundled_config
from services.shared.keys import Role
from services.shared.settings import BucketName, Catalogue, DatasetName

GOOGLE_CERTS = "https://www.googleapis.com/oauth2/v1/certs"
CLOUD_IDENTITY = "https://cloudidentity.googleapis.com"


def _listed(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _document(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/?#\s]+$")]
Member = Annotated[
    str, StringConstraints(pattern=r"^(domain:[^@\s:]+|(group:)?[^@\s:]+@[^@\s:]+)$", to_lower=True)
]


class Settings(settings.Settings):
    """The gateway's."""

    service: ClassVar[str] = "gateway"

    upload_bucket: Annotated[BucketName, Field(alias="VITRINE_UPLOAD_BUCKET")]
    dataset: Annotated[DatasetName, Field(alias="VITRINE_DATASET")]
    catalogue: Annotated[Catalogue, Field(alias="VITRINE_CATALOGUE")] = bundled_config()
    model: Annotated[str, Field(alias="VITRINE_MODEL", min_length=1)]
    model_version: Annotated[str, Field(alias="VITRINE_MODEL_VERSION", min_length=1)]
    # Its own public address, without a path.
    url: Annotated[Address, Field(alias="VITRINE_GATEWAY_URL")]
    # Who may be meant by an ID token; of nobody, none is taken.
    audiences: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_listed), Field(alias="VITRINE_AUDIENCES")
    ] = ()
    certs_url: Annotated[str, Field(alias="VITRINE_CERTS_URL")] = GOOGLE_CERTS
    groups_url: Annotated[Address, Field(alias="VITRINE_GROUPS_URL")] = CLOUD_IDENTITY
    # "Sign in with Google" on the console's sign-in page.
    oauth_client_id: Annotated[str | None, Field(alias="VITRINE_OAUTH_CLIENT_ID")] = None
    roles: Annotated[
        dict[Role, tuple[Member, ...]], NoDecode, BeforeValidator(_document), Field(alias="VITRINE_ROLES")
    ] = Field(default_factory=dict)
    api_keys: Annotated[str | None, Field(alias="VITRINE_API_KEYS")] = None  # a file
    session_secret: Annotated[str, Field(alias="VITRINE_SESSION_SECRET", min_length=32, repr=False)]
    prices: Annotated[Prices, NoDecode, BeforeValidator(_document), Field(alias="VITRINE_PRICES")] = Prices()
    # In the currency of the prices; above it a job must be confirmed.
    cost_limit: Annotated[float | None, Field(alias="VITRINE_COST_LIMIT", ge=0)] = None
    rate_limit: Annotated[
        str, Field(alias="VITRINE_RATE_LIMIT", pattern=r"^[1-9]\d*/(second|minute|hour|day)$")
    ] = "3000/minute"
    # How many proxies in front of it append to X-Forwarded-For.
    proxies: Annotated[int, Field(alias="VITRINE_PROXIES", ge=0, le=10)] = 0

    @property
    def secure(self) -> bool:
        """Whether its users reach it by https."""
        return self.url.startswith("https://")
