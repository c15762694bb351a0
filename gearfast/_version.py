# SPDX-License-Identifier: BSD-3-Clause
"""The version of gearfast, for the package and for its metadata."""

__version__ = "0.1.0"
