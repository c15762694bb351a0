# SPDX-License-Identifier: BSD-3-Clause
"""What the three kinds of handlers share: from a command to the method named after it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ._flavour import FLAVOUR
from .errors import UnknownCommandError
from .protocol import GEARMAN_COMMAND_TO_NAME, get_command_name

if TYPE_CHECKING:
    from .connection_manager import GearmanConnectionManager

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.command_handler")

_METHODS = {
    number: name.lower().replace("gearman_command_", "recv_") for number, name in GEARMAN_COMMAND_TO_NAME.items()
}


class GearmanCommandHandler:
    """The state of one connection, without input or output of its own."""

    def __init__(self, connection_manager: GearmanConnectionManager | None = None) -> None:
        self.connection_manager: Any = connection_manager

    def __repr__(self) -> str:
        return f"<{type(self).__name__} connection_manager={self.connection_manager!r}>"

    def initial_state(self, *largs: Any, **kwargs: Any) -> None:
        """Called once the connection is made."""

    def on_io_error(self) -> None:
        """Called when the connection is lost."""

    def decode_data(self, data: Any) -> Any:
        """Opaque data as the manager's encoder reads it."""
        return self.connection_manager.data_encoder.decode(data)

    def encode_data(self, data: Any) -> Any:
        """An object as the manager's encoder writes it."""
        return self.connection_manager.data_encoder.encode(data)

    def fetch_commands(self) -> None:
        """Handles what was received, until a method returns something false."""
        going: Any = True
        while going:
            command = self.connection_manager.read_command(self)
            if command is None:
                break
            going = self.recv_command(command[0], **command[1])

    def send_command(self, cmd_type: int, **cmd_args: Any) -> None:
        """Hands a command to the manager."""
        self.connection_manager.send_command(self, cmd_type, cmd_args)

    def recv_command(self, cmd_type: int, **cmd_args: Any) -> Any:
        """Calls `recv_NAME`. Raises ValueError for an unknown number, UnknownCommandError if there is no method."""
        name = _METHODS.get(cmd_type)
        method = getattr(self, name, None) if name is not None else None
        if method is not None:
            return method(**cmd_args)
        text = f"Could not handle command: {get_command_name(cmd_type)!r} - {cmd_args!r}"
        gearman_logger.error(text)
        raise ValueError(text) if name is None else UnknownCommandError(text)

    def recv_error(self, error_code: Any, error_text: Any) -> Any:
        """The server refused something."""
        return self.connection_manager.on_gearman_error(error_code, error_text)
