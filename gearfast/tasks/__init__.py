# SPDX-License-Identifier: BSD-3-Clause
"""Python callables as functions: a client calls them with arguments, a worker does them, a serializer lies between.

`app` is where a program declares its tasks, `task` what a client does with one, `work` what a worker does with it.
"""
