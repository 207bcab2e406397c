"""Settings: read once from the environment, checked at boot, then fixed."""

import sys
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.shared.catalogue_config import CatalogueConfig, ConfigError, bundled_config, parse_config

BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$")]
DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,1024}$")]


def _catalogue(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_config(value, "catalogue.yaml") if value.strip() else bundled_config()
    except ConfigError as error:
        raise ValueError(str(error)) from error


# The text of a catalogue.yaml.
Catalogue = Annotated[CatalogueConfig, NoDecode, BeforeValidator(_catalogue)]

# Of all exit codes the one at which gunicorn gives up too, and does not start its worker again for ever.
CANNOT_START = 3


class Settings(BaseSettings):
    """What every service needs. A stage's own settings add to it."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True)

    service: ClassVar[str]

    project: Annotated[str, Field(alias="GOOGLE_CLOUD_PROJECT", min_length=1)]
    bucket: Annotated[BucketName, Field(alias="VITRINE_BUCKET")]


def read[S: Settings](settings: type[S]) -> S:
    """Reads a service's settings.

    Raises:
        SystemExit: after every missing or malformed variable was named on stderr.

    """
    try:
        return settings.model_validate({})
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        sys.stderr.write(f"{settings.service} cannot start, its environment is not complete:\n{problems}\n")
        sys.exit(CANNOT_START)
