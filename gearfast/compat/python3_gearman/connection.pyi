# SPDX-License-Identifier: BSD-3-Clause
from ..gearman.connection import *
