# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Words of the protocol that may be written in any case, and numbers as it writes them."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, strlen

from gearfast._codec cimport Field


cdef inline char lower(char letter) noexcept nogil:
    return letter + 32 if c'A' <= letter <= c'Z' else letter


cdef inline bint same_letters(const char* a, const char* b, size_t size) noexcept nogil:
    """Equal but for the case of ASCII letters."""
    cdef size_t i
    for i in range(size):
        if lower(a[i]) != lower(b[i]):
            return False
    return True


cdef inline bint is_word(Field text, const char* word) noexcept nogil:
    """`text` is this word, in any case."""
    cdef size_t size = strlen(word)
    return text.size == size and same_letters(text.data, word, size)


cdef inline size_t put_decimal(char* at, uint64_t number) noexcept nogil:
    """Write a number; returns its digits, at most 20."""
    cdef char digits[20]
    cdef int n = 20
    while True:
        n -= 1
        digits[n] = <char>(c'0' + number % 10)
        number = number // 10
        if number == 0:
            break
    memcpy(at, &digits[n], 20 - n)
    return 20 - n
