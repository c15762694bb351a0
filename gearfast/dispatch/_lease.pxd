# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Queues while the lease has lapsed: durable jobs come last in each of them."""

from gearfast.dispatch._records cimport Core, Function, Job

cdef void queue_last(Core* core, Job* job) noexcept nogil
cdef void queue_by_time(Core* core, Job* job) noexcept nogil
cdef void queues_part(Function* function) noexcept nogil
