# SPDX-License-Identifier: BSD-3-Clause
from ..gearman.client_handler import *
