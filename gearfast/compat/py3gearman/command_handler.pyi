# SPDX-License-Identifier: BSD-3-Clause
from ..gearman.command_handler import *
