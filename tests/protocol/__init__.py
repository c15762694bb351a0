# SPDX-License-Identifier: BSD-3-Clause
"""Byte scripts on the dispatcher: bytes in, bytes out, a clock that the script turns. No socket is opened here."""
