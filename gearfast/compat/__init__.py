# SPDX-License-Identifier: BSD-3-Clause
"""Drop-in replacements for the older Python libraries of Gearman, under their own names."""
