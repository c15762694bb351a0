# SPDX-License-Identifier: BSD-3-Clause
from ..gearman.admin_client import *
