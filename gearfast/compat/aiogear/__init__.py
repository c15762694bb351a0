# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear`, the asyncio library, on gearfast: the same protocols and named tuples.

    from gearfast.compat import aiogear

docs/coming-from-aiogear.md says what is better than there and what differs.
"""

from gearfast.compat.aiogear.admin import Admin
from gearfast.compat.aiogear.callback_client import CallbackClient
from gearfast.compat.aiogear.client import Client
from gearfast.compat.aiogear.packet import Type as PacketType
from gearfast.compat.aiogear.worker import Worker

__all__ = ["Admin", "CallbackClient", "Client", "PacketType", "Worker"]
