# SPDX-License-Identifier: BSD-3-Clause
"""A web shop: `orders` and `quotes` submit jobs, `jobs` does them."""
