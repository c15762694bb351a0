# SPDX-License-Identifier: BSD-3-Clause
"""The site: `make docs` builds it into build/docs, with every warning an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.errors import ExtensionError

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gearfast import __version__, errors

project = "gearfast"
author = "the gearfast authors"
copyright = "the gearfast authors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"gearfast {release}"

# Pages are Markdown that reads well without the site, too.
myst_heading_anchors = 3

# Docstrings name things in `single backticks`: a link where there is such a thing, else code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False


# --- docstrings: what each argument means is a list, and errors that are named are links ------------------------------

_ARGUMENT = re.compile(r"`\w+`(, `\w+`)*: ")
_ARGUMENT_WITHIN = re.compile(r"(?<=\.) (?=`\w+`(, `\w+`)*: |Raises [A-Z])")
_ERRORS = re.compile(rf"(?<![\w`.])({'|'.join(errors.__all__)})(?![\w`(])")


def _process_docstring(
    _app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Makes lists and links of what docstrings say in plain words."""
    found: list[str] = []
    in_list = False
    for line in _ARGUMENT_WITHIN.sub("\n", "\n".join(lines)).split("\n"):
        line = _ERRORS.sub(r":py:obj:`.\1`", line)
        if _ARGUMENT.match(line):
            found += [] if in_list else [""]
            found.append(f"* {line}")
            in_list = True
        elif in_list and line.startswith("Raises "):
            found += ["", line]
            in_list = False
        elif in_list and line.strip():
            found.append(f"  {line}")
        else:
            in_list = False
            found.append(line)
    lines[:] = found


# --- links to files of the repository, which the site does not have ---------------------------------------------------

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)\)")


def _process_source(app: Sphinx, page: str, content: list[str]) -> None:
    """Leaves the text of links to files beside docs/. Raises ExtensionError for a file that does not exist."""
    folder = (Path(app.srcdir) / page).parent

    def text_of(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if target.is_relative_to(app.srcdir):
            return match[0]
        if not target.exists():
            raise ExtensionError(f"{page}: there is no {match[2]}")
        return match[1]

    content[0] = _OUTSIDE.sub(text_of, content[0])


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("source-read", _process_source)
