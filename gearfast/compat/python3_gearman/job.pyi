# SPDX-License-Identifier: BSD-3-Clause
from ..gearman.job import *
