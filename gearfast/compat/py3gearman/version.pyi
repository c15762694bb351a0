# SPDX-License-Identifier: BSD-3-Clause
from ..gearman.version import *
