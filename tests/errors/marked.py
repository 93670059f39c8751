"""Programs that must fail, with the text they must fail with.

In the expected texts ``{here}`` stands for the line marked ``# here`` as errors print it, and
``{a}`` and ``{b}`` for the places of the lines marked ``# a`` and ``# b``; ``{here_short}`` is only
the place of the line, ``{a_full}`` the whole of it.
"""

from __future__ import annotations

import inspect
import os
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import staticgraph as tf

Program = Callable[[], Any]


def placed(template: str, f: Callable[..., Any]) -> str:
    """The template with the marked lines of `f` filled in."""
    lines, first = inspect.getsourcelines(f)
    file = os.path.basename(f.__code__.co_filename)
    body = next(k for k, line in enumerate(lines) if line.startswith("def "))
    for k, line in enumerate(lines[body:], body):
        found = re.search(r"# (here|a|b)$", line)
        if found:
            short = f"{file}:{first + k}"
            full = f"{short} in {_function(lines[body : k + 1])}:  {line.strip()}"
            template = template.replace("{" + found[1] + "}", full if found[1] == "here" else short)
            template = template.replace("{" + found[1] + "_full}", full)
            template = template.replace("{" + found[1] + "_short}", short)
    return template


def _function(lines: list[str]) -> str:
    """The name of the function that the last of these lines is in."""
    depth = len(lines[-1]) - len(lines[-1].lstrip())
    for line in reversed(lines):
        found = re.match(r"( *)def (\w+)", line)
        if found and len(found[1]) < depth:
            return found[2]
    raise AssertionError("a marked line stands in a function")


class Cases(list[Any]):
    """Failing programs of one module, as parameters for `assert_word_for_word`."""

    def fails(self, kind: type[BaseException], template: str) -> Callable[[Program], Program]:
        """Register a program that must fail with `kind` and this text."""

        def note(f: Program) -> Program:
            self.append(pytest.param(f, kind, inspect.cleandoc(template), id=f.__name__))
            return f

        return note


def run(fetch: Any, feed: Any = None) -> Any:
    """One run after initialisation, for failures that name the line of an operation."""
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    return sess.run(fetch, feed)


def assert_word_for_word(program: Program, kind: type[BaseException], template: str) -> None:
    """The program fails just so, nothing internal shows, and the error survives pickling."""
    with pytest.raises(kind) as caught:
        program()
    text = str(caught.value)
    assert text == placed(template, program)
    assert type(caught.value) is kind
    for internal in ("numba", "staticgraph/", "%0[", "array(", "s0", "n0"):
        assert internal not in text.lower()
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is kind
    assert str(again) == text


__all__ = ["Cases", "Program", "assert_word_for_word", "placed", "run"]
