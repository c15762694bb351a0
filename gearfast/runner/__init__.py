# SPDX-License-Identifier: BSD-3-Clause
"""Many processes of one Python worker: a supervisor that starts, watches, restarts and ends them.

`supervisor` is the parent's side, `child` the side of the processes, `load` finds the worker that a program names,
`adjust` puts what a command line says over what the program says, `limits` and `changes` say when to restart.
"""
