# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Counters and histograms of a function, kept in C where things happen and read as one snapshot."""

from libc.stdint cimport int64_t, uint64_t

from gearfast.dispatch._records cimport Function, Tally

cdef extern from *:
    """
    #ifdef _MSC_VER
    #include <intrin.h>
    static int gearfast_bits(unsigned long long n) {
        unsigned long at;
        return _BitScanReverse64(&at, n) ? (int)at + 1 : 0;
    }
    #else
    static int gearfast_bits(unsigned long long n) { return n ? 64 - __builtin_clzll(n) : 0; }
    #endif
    """
    int bits "gearfast_bits"(uint64_t number) nogil

cdef enum:
    BUCKETS = 32

cdef Tally* tally_new(Function* function) noexcept nogil


cdef inline Tally* tally_of(Function* function) noexcept nogil:
    """A function's counters, made when they are first wanted; NULL without memory."""
    return function.tally if function.tally != NULL else tally_new(function)


cdef inline void tally_time(uint64_t* buckets, uint64_t* total, int64_t ns) noexcept nogil:
    """Count a time of `ns` in a histogram with a bucket for each power of two of microseconds."""
    cdef int bucket
    if ns < 0:
        ns = 0
    bucket = bits(<uint64_t>ns // 1000)
    total[0] += <uint64_t>ns
    buckets[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
