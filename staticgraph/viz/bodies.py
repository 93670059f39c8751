"""The bodies of loops and branches in a picture: a group each, between what enters and the node.

What is passed to a body is drawn to its parameters, and its results to the node of the loop or
branch, from where they go on.  So edges lead one way, and what an iteration hands to the next is
told by names: the results are in the order of the parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from staticgraph.viz.picture import Link, Picture


@dataclass(frozen=True, slots=True)
class Body:
    """A body to be put into a picture.

    Attributes:
      node: id of the item that stands for the loop or branch.
      label: of the group.
      inner: the body's own picture.
      enters: ids in the picture and in the body's, with the label of the edge.
      leaves: ids in the body's picture, with labels.
    """

    node: str
    label: str
    inner: Picture
    enters: Sequence[tuple[str, str, str]]
    leaves: Sequence[tuple[str, str]]


def with_bodies(picture: Picture, bodies: Sequence[Body], kept: set[tuple[str, str]]) -> Picture:
    """The picture with bodies in it.

    Args:
      kept: the edges (source, target) to nodes of loops that stay although a body has them too.
    """
    group = {i.id: i.group for i in picture.items}
    passed = {(source, b.node) for b in bodies for source, _, _ in b.enters} - kept
    items, groups = list(picture.items), list(picture.groups)
    links = [e for e in picture.links if (e.source, e.target) not in passed]
    for k, b in enumerate(bodies):
        prefix = f"{b.node}b{k}"
        inner = b.inner.prefixed(prefix, b.label)
        items += inner.items
        groups.append(replace(inner.groups[0], parent=group[b.node], kind="operation"))
        groups += inner.groups[1:]
        links += inner.links
        links += [Link(a, f"{prefix}.{z}", label, "data", "enters") for a, z, label in b.enters]
        links += [Link(f"{prefix}.{a}", b.node, label, "data", "leaves") for a, label in b.leaves]
    found = tuple(dict.fromkeys(links))
    return replace(picture, items=tuple(items), links=found, groups=tuple(groups))


__all__ = ["Body", "with_bodies"]
