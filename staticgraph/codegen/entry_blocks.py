"""The blocks of words that tell native code how to run a plan, and the names of their words.

A block is an array of 64-bit words: numbers and addresses.  `runtime.quick` fills blocks in; the
text of `codegen.entry_source` reads them, where ``$plan_table`` is the number of the word `table`
of a `PLAN`, and ``$plan_words`` how many words there are.
"""

from __future__ import annotations

MOST_FEEDS = 32
"""Feeds of a plan that can be run natively."""

TABLE = 64
"""Places for entries in a session's table."""

PROBES = 4
"""Places where one entry may be."""

API = tuple(
    "array doubles list tuple dict int float float32 float64 none true false feed_dict run "
    "vectorcall as_int from_int new_list new_tuple set_list set_tuple list_size list_item "
    "tuple_size tuple_item dict_size dict_next take give save restore fetch_error set_error "
    "new_array new_scalar".split()
)
"""Types, singletons, an interned name and the Python `run`; then functions of the C interfaces."""

STATE = tuple("busy aside generation operations seen acquire release table".split())
"""A session: a run is at work; all is left to Python; generation of the variables; the list of the
graph's operations and how many were seen; methods of its lock; its entries from `table` on."""

ENTRY = tuple("plans bound state form filled slots fetched keys keyed slow rebuild owner".split())
"""What is fetched and fed: the plans for it, one for each shape of the feeds; how it is recognised,
and what becomes of the results; the object that owns all this."""

PLAN = tuple(
    "table rows failed walk release feeds fed results shown copies copied streams drawn "
    "generation runs ends fail".split()
)
"""A plan.  A count stands before the address of what it counts."""

FEED = tuple(
    "type rank sizes bytes place patches patched rounds scalar code low high size value".split()
)
"""A feed.  A patch is the address of a word, and bytes to add to the array's address in it; what
`rounds` takes arrays of float64 for float32; a plan is bound to the `value` of what is a `size`."""

RESULT = tuple("type rank sizes bytes source keeper capsule make patches patched".split())
"""A result, and where it is; or, where there is a `keeper`, what makes the array that kernels write
straight into, and patches for its address.  See `codegen.result_source`."""

COPY = tuple("to source bytes".split())
"""What is copied after the last step."""

STREAM = tuple("block position draws".split())
"""A random stream: where its position is read and kept, 128 bits each, and how far it moves."""

ONE, LIST, TUPLE, REBUILT = range(4)
"""Forms of fetches and of what is returned: the thing itself, a list, a tuple; or `rebuild` of a
list makes it."""

NONE, FLOAT32, FLOAT64, INTEGER, BOOL = range(5)
"""What plain numbers become as a feed; they are not taken where it is `NONE`."""


def names() -> dict[str, int]:
    """What stands for ``$name`` in the text."""
    out = {"most_feeds": MOST_FEEDS, "last_place": TABLE - 1, "probes": PROBES}
    kinds = {
        "api": API, "state": STATE, "entry": ENTRY, "plan": PLAN, "feed": FEED,
        "result": RESULT, "copy": COPY, "stream": STREAM,
    }  # fmt: skip
    for kind, words in kinds.items():
        out |= {f"{kind}_{word}": i for i, word in enumerate(words)}
        out[f"{kind}_words"] = len(words)
    out |= {"form_one": ONE, "form_list": LIST, "form_tuple": TUPLE, "form_rebuilt": REBUILT}
    numbers = {"float32": FLOAT32, "float64": FLOAT64, "integer": INTEGER, "bool": BOOL}
    return out | {f"number_{k}": n for k, n in numbers.items()}


def place_of(fetch: int, keys: int, key: int) -> int:
    """Where in a session's table the search for an entry begins.

    Args:
      fetch: address of the first fetch.
      keys, key: how many feeds, and the address of the first one's key, or 0.
    """
    return ((fetch >> 4) + 3 * (key >> 4) + keys) % TABLE
