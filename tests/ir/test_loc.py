"""Source locations: the user's line, never the package's, and never part of equality."""

from __future__ import annotations

import linecache
import warnings

import staticgraph.ops  # noqa: F401
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import constant
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import lookup


def test_the_location_of_an_operation_is_the_line_that_made_it() -> None:
    with Graph().as_default():
        x = constant(1.0)
        y = x + 2.0  # the line in question
    assert y.op.loc.function == "test_the_location_of_an_operation_is_the_line_that_made_it"
    assert y.op.loc.source == "y = x + 2.0  # the line in question"
    assert y.op.loc.line == x.op.loc.line + 1
    assert y.op.inputs[1].op.loc == y.op.loc  # the constant made on the way


def test_context_managers_of_the_package_do_not_hide_the_line() -> None:
    g = Graph()
    with g.as_default(), g.name_scope("s"), g.control_dependencies([]):
        x = lookup("Neg")(constant(1.0))
    assert x.op.loc.source == 'x = lookup("Neg")(constant(1.0))'


def test_code_without_a_file_has_a_line_but_no_source() -> None:
    scope: dict[str, object] = {}
    exec(
        compile("from staticgraph.ir.loc import caller\nwhere = caller()", "<made up>", "exec"),
        scope,
    )
    where = scope["where"]
    assert isinstance(where, loc.Loc)
    assert (where.file, where.line, where.function) == ("<made up>", 2, "<module>")
    assert where.excerpt() == "<made up>:2"


def test_an_excerpt_names_file_function_and_source() -> None:
    linecache.cache["/models/net.py"] = (10, None, ["a\n", "    y = f(x)\n"], "/models/net.py")
    assert loc.Loc("/models/net.py", 2, "build").excerpt() == "net.py:2 in build:  y = f(x)"
    assert loc.Loc("/models/net.py", 2, "<module>").excerpt() == "net.py:2:  y = f(x)"
    assert loc.Loc("/models/net.py", 2, "build").short() == "net.py:2"
    del linecache.cache["/models/net.py"]


def test_lambdas_and_comprehensions_are_user_code() -> None:
    with Graph().as_default():
        made = [lookup("Neg")(constant(float(i))) for i in range(2)]
        also = (lambda: constant(1, dtypes.int32))()
    assert made[0].op.loc.line == made[1].op.loc.line
    assert also.op.loc.line == made[0].op.loc.line + 1


def test_warnings_are_at_the_users_line_and_told_once() -> None:
    scope: dict[str, object] = {"warn": loc.warn}
    code = compile("for text in 'aab':\n    warn(UserWarning(text))\n", "program.py", "exec")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        exec(code, scope)
        exec(code, scope)
    assert [(str(w.message), w.filename, w.lineno) for w in seen] == [
        ("a", "program.py", 2),
        ("b", "program.py", 2),
    ]
