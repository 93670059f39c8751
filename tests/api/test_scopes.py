"""Name scopes, variable scopes, groups and collections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import staticgraph as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


# ---------------------------------------------------------------- names
def test_scopes_prefix_names_and_are_made_unique() -> None:
    with tf.name_scope("a") as scope:
        assert scope == "a/"
        assert tf.constant(1.0, name="c").op.name == "a/c"
        with tf.name_scope("b"):
            assert tf.constant(1.0, name="c").op.name == "a/b/c"
    with tf.name_scope("a"):
        assert tf.constant(1.0, name="c").op.name == "a_1/c"
    with tf.name_scope("a/"):
        assert tf.constant(1.0, name="c").op.name == "a/c_1"
    with tf.name_scope("a"), tf.name_scope(None):
        assert tf.constant(1.0, name="c").op.name == "c"


def test_a_scope_takes_its_default_name_and_the_graph_of_its_values() -> None:
    x = tf.constant(1.0)
    with tf.Graph().as_default(), tf.name_scope(None, "layer", [x]) as scope:
        assert scope == "layer/" and tf.get_default_graph() is x.graph
    with pytest.raises(ValueError, match="a name or a default name"):
        tf.name_scope(None, None, [x])
    with tf.Graph().as_default():
        other = tf.constant(1.0)
    with pytest.raises(ValueError, match="different graphs"):
        tf.name_scope("a", None, [x, other]).__enter__()


# ---------------------------------------------------------------- variable scopes
def test_a_variable_scope_prefixes_variables_and_operations() -> None:
    with tf.variable_scope("a") as a, tf.variable_scope("b"):
        v = tf.get_variable("v", [1])
        assert v.name == "a/b/v:0" and tf.constant(1.0, name="c").op.name == "a/b/c"
    with tf.variable_scope("a", reuse=True):
        assert tf.constant(1.0, name="c").op.name == "a_1/c"
        with tf.variable_scope("b"):
            assert tf.get_variable("v", [1]) is v
    with tf.variable_scope(a) as again:
        assert again.original_name_scope == "a/" and tf.get_variable("w", [1]).name == "a/w:0"
        assert tf.constant(1.0, name="c").op.name == "a_2/c"
    with tf.variable_scope("a", auxiliary_name_scope=False):
        assert tf.constant(1.0, name="d").op.name == "d"


def test_a_second_variable_of_a_name_is_refused_with_the_line_of_the_first() -> None:
    with tf.variable_scope("a"):
        tf.get_variable("w", [1])
        with pytest.raises(
            ValueError, match=r"Variable a/w already exists, disallowed. .*test_scopes.py:\d+"
        ) as e:
            tf.get_variable("w", [1])
    assert 'tf.get_variable("w", [1])' in str(e.value)


def test_reuse_of_what_does_not_exist_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="Variable a/w does not exist, or was not created with"),
        tf.variable_scope("a", reuse=True),
    ):
        tf.get_variable("w", [1])


def test_automatic_reuse_makes_and_then_shares() -> None:
    def layer() -> Any:
        with tf.variable_scope("a", reuse=tf.AUTO_REUSE):
            return tf.get_variable("w", [1])

    assert layer() is layer()
    with (
        pytest.raises(ValueError, match=r"specified shape .* and found shape"),
        tf.variable_scope("a", reuse=tf.AUTO_REUSE),
    ):
        tf.get_variable("w", [2])
    with (
        pytest.raises(TypeError, match="specified dtype float64 and found dtype float32"),
        tf.variable_scope("a", reuse=True),
    ):
        tf.get_variable("w", [1], tf.float64)


def test_reuse_variables_holds_to_the_end_of_the_scope() -> None:
    with tf.variable_scope("a"):
        w = tf.get_variable("w", [1])
        tf.get_variable_scope().reuse_variables()
        assert tf.get_variable("w", [1]) is w
    assert tf.get_variable_scope().reuse is False


def test_default_names_are_made_unique() -> None:
    names = []
    for _ in range(2):
        with tf.variable_scope(None, "layer"):
            names.append(tf.get_variable("w", [1]).op.name)
    assert names == ["layer/w", "layer_1/w"]


def test_defaults_are_inherited() -> None:
    penalty = tf.contrib.layers.l2_regularizer(0.5)
    with (
        tf.variable_scope(
            "a", initializer=tf.constant_initializer(4.0), regularizer=penalty, dtype=tf.float64
        ),
        tf.variable_scope("b"),
    ):
        v = tf.get_variable("v", [2])
    assert v.dtype.base is tf.float64
    (loss,) = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    assert loss.op.name == "a/b/v/Regularizer/l2_regularizer"
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run(v).tolist() == [4.0, 4.0] and sess.run(loss) == 8.0


def test_custom_getters_wrap_one_another() -> None:
    calls = []

    def getter(label: str) -> Any:
        def get(inner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
            calls.append((label, name))
            return inner(name, *args, **kwargs) * 1.0

        return get

    with (
        tf.variable_scope("a", custom_getter=getter("outer")),
        tf.variable_scope("b", custom_getter=getter("inner")),
    ):
        out = tf.get_variable("v", [2])
    assert calls == [("inner", "a/b/v"), ("outer", "a/b/v")]
    assert isinstance(out, tf.Tensor) and len(tf.global_variables()) == 1


def test_a_template_shares_its_variables() -> None:
    scale = tf.make_template("scale", lambda x: x * tf.get_variable("k", []))
    scale(tf.constant(1.0))
    scale(tf.constant(2.0))
    assert [v.name for v in tf.global_variables()] == ["scale/k:0"]
    assert tf.make_template("scale", lambda: tf.get_variable("k", []))().name == "scale_1/k:0"


def test_operations_of_a_template_are_named_by_the_call() -> None:
    half = tf.make_template("half", lambda x: x * tf.get_variable("k", []))
    other = tf.make_template("half", lambda x: x * tf.get_variable("k", []))
    calls = [half(tf.constant(1.0)), half(tf.constant(2.0)), other(tf.constant(3.0))]
    assert [t.name for t in calls] == ["half/mul:0", "half_1/mul:0", "half_2/mul:0"]
    assert [v.name for v in tf.global_variables()] == ["half/k:0", "half_1/k:0"]


# ---------------------------------------------------------------- order
def test_a_group_waits_for_its_inputs() -> None:
    a, b = tf.constant(1.0), tf.Variable(2.0)
    done = tf.group(a, [b.initializer], name="both")
    assert (done.name, done.type) == ("both", "NoOp")
    assert done.control_inputs == (a.op, b.initializer)
    with pytest.raises(TypeError, match="group takes tensors"):
        tf.group(3)


def test_tuple_gives_values_after_all_are_there() -> None:
    a, v = tf.constant(1.0), tf.Variable(2.0)
    x, none, y = tf.tuple([a, None, v], control_inputs=[v.initializer])
    assert none is None
    assert (
        {c.type for c in x.op.control_inputs} == {"NoOp"} == {c.type for c in y.op.control_inputs}
    )
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run([x, y]) == [1.0, 2.0]
    with pytest.raises(ValueError, match="at least one tensor"):
        tf.tuple([None])


def test_collections_of_the_graph() -> None:
    tf.add_to_collections(["a", "b", "a"], 1)
    tf.get_collection_ref("a").append(2)
    assert tf.get_collection("a") == [1, 2] and tf.get_collection("b") == [1]
    assert tf.get_collection("none") == []
