"""What handlers ask for by the types of their parameters: `ports: PortsOf`, `identity: Operator`."""

from typing import Annotated

from fastapi import Depends, Request

from services.gateway.identity import Identity
from services.gateway.ports import Ports
from services.gateway.progress import Board
from services.gateway.security import require
from services.gateway.settings import Settings


def get_ports(request: Request) -> Ports:
    """The gateway's ports, made at the first use."""
    ports: Ports = request.app.state.ports()
    return ports


def get_settings(request: Request) -> Settings:
    """The gateway's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def get_board(request: Request) -> Board:
    """The board of all jobs, made at the first use."""
    board: Board = await request.app.state.board.ready()
    return board


PortsOf = Annotated[Ports, Depends(get_ports)]
SettingsOf = Annotated[Settings, Depends(get_settings)]
BoardOf = Annotated[Board, Depends(get_board)]
Reader = Annotated[Identity, Depends(require("read"))]
Operator = Annotated[Identity, Depends(require("operate"))]
Reviewer = Annotated[Identity, Depends(require("review"))]
Administrator = Annotated[Identity, Depends(require("administer"))]
