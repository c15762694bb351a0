# SPDX-License-Identifier: BSD-3-Clause
"""Takes the place of python-gearman 2.0.2, gearman3 and pygearman: the same names, with bytes out and both kinds in.

The sources in this folder are run once more, with str out, as `gearfast.compat.python3_gearman` and
`gearfast.compat.py3gearman`. What differs from the originals stands in docs/coming-from-python-gearman.md.
"""

from __future__ import annotations

from . import admin_client as admin_client
from . import admin_client_handler as admin_client_handler
from . import client as client
from . import client_handler as client_handler
from . import command_handler as command_handler
from . import compat as compat
from . import connection as connection
from . import connection_manager as connection_manager
from . import constants as constants
from . import errors as errors
from . import io as io
from . import job as job
from . import protocol as protocol
from . import util as util
from . import version as version
from . import worker as worker
from . import worker_handler as worker_handler
from ._top import *
from ._top import __all__ as __all__
