"""What handlers ask for by their parameters: `ports: Annotated[Ports, Depends(get_ports)]`."""

from fastapi import Request

from services.gateway.ports import Ports
from services.gateway.settings import Settings


def get_ports(request: Request) -> Ports:
    """The gateway's ports, made at the first use."""
    ports: Ports = request.app.state.ports()
    return ports


def get_settings(request: Request) -> Settings:
    """The gateway's settings."""
    settings: Settings = request.app.state.settings
    return settings
