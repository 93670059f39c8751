"""`tf.flags`: options of a program's command line.

>>> DEFINE_integer("steps", 100, "How long to train.")
>>> FLAGS(["program", "--steps=7", "rest"])
['program', 'rest']
>>> FLAGS.steps
7
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from staticgraph.errors import UsageError


@dataclass
class Flag:
    """One option: its value, the text that explains it, and how to read it."""

    name: str
    value: Any
    help: str
    parse: Callable[[str], Any]
    boolean: bool = False
    multiple: bool = False
    required: bool = False
    present: bool = False


class FlagValues:
    """The options as attributes; the command line is read at the first use."""

    def __init__(self) -> None:
        self.__dict__["_flags"] = {}
        self.__dict__["_parsed"] = False

    def define(self, flag: Flag) -> None:
        """Add an option; one defined twice keeps the last definition."""
        self._flags[flag.name] = flag

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Read a command line; returns what is left, the program's name first.

        Raises:
          UsageError: an option that is not defined or a value that cannot be read.
        """
        self.__dict__["_parsed"] = True
        rest, args = list(argv[:1]), list(argv[1:])
        while args:
            arg = args.pop(0)
            if arg == "--":
                rest += args
                break
            if not arg.startswith("-") or arg == "-":
                rest.append(arg)
                continue
            flag, text = self._find(arg)
            if flag is None:
                if not known_only:
                    options = ", ".join(sorted(self._flags))
                    raise UsageError(f"{arg!r} is not an option", hint=f"options: {options}")
                rest.append(arg)
                continue
            if text is None:
                if not args:
                    raise UsageError(f"option --{flag.name} needs a value")
                text = args.pop(0)
            self._set(flag, text)
        for flag in self._flags.values():
            if flag.required and flag.value is None:
                raise UsageError(f"option --{flag.name} must be given")
        return rest

    def _find(self, arg: str) -> tuple[Flag | None, str | None]:
        """The option that an argument names, and its value where the argument holds it."""
        name, equals, text = arg.lstrip("-").partition("=")
        flag = self._flags.get(name)
        if flag is None and not equals and name.startswith("no"):
            negated = self._flags.get(name[2:])
            return (negated, "false") if negated is not None and negated.boolean else (None, None)
        if flag is not None and not equals:
            return flag, "true" if flag.boolean else None
        return flag, text

    def _set(self, flag: Flag, text: str) -> None:
        try:
            value = flag.parse(text)
        except ValueError as e:
            raise UsageError(f"option --{flag.name}: {text!r} cannot be read ({e})") from None
        if flag.multiple and flag.present:
            flag.value = [*flag.value, *value]
        else:
            flag.value = value
        flag.present = True

    def __getattr__(self, name: str) -> Any:
        flags = self.__dict__["_flags"]
        if name not in flags:
            raise AttributeError(name)
        if not self.__dict__["_parsed"]:
            self(sys.argv, known_only=True)
        return flags[name].value

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._flags:
            raise AttributeError(f"there is no option {name!r}")
        self._flags[name].value = value

    def __contains__(self, name: str) -> bool:
        return name in self._flags

    def __iter__(self) -> Any:
        return iter(self._flags)

    def __getitem__(self, name: str) -> Flag:
        return self._flags[name]  # type: ignore[no-any-return]

    def flag_values_dict(self) -> dict[str, Any]:
        """All options and their values."""
        return {k: getattr(self, k) for k in self._flags}

    def mark_as_parsed(self) -> None:
        """Leave the command line unread."""
        self.__dict__["_parsed"] = True


FLAGS = FlagValues()


def _truth(text: str) -> bool:
    if text.lower() in ("true", "t", "1", "yes", "y"):
        return True
    if text.lower() in ("false", "f", "0", "no", "n"):
        return False
    raise ValueError("neither true nor false")


def _integer(text: str) -> int:
    return int(text, 0)


def _list(text: str) -> list[str]:
    return [t.strip() for t in text.split(",")] if text else []


def DEFINE_string(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that holds text."""
    FLAGS.define(Flag(name, default, help, str))


def DEFINE_integer(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that holds an integer."""
    FLAGS.define(Flag(name, default, help, _integer))


def DEFINE_float(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that holds a number."""
    FLAGS.define(Flag(name, default if default is None else float(default), help, float))


def DEFINE_bool(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that is given as ``--name`` or ``--noname``."""
    FLAGS.define(Flag(name, default, help, _truth, boolean=True))


DEFINE_boolean = DEFINE_bool


def DEFINE_enum(name: str, default: Any, enum_values: Sequence[str], help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that holds one of several texts."""

    def parse(text: str) -> str:
        if text not in enum_values:
            raise ValueError("one of " + ", ".join(enum_values))
        return text

    FLAGS.define(Flag(name, default, help, parse))


def DEFINE_list(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that holds texts separated by commas."""
    FLAGS.define(Flag(name, _list(default) if isinstance(default, str) else default, help, _list))


def _define_multi(name: str, default: Any, help: str, parse: Callable[[str], Any]) -> None:  # noqa: A002
    start = default if default is None or isinstance(default, list) else [default]
    FLAGS.define(Flag(name, start, help, lambda text: [parse(text)], multiple=True))


def DEFINE_multi_string(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that may be given again and again; the texts are collected."""
    _define_multi(name, default, help, str)


def DEFINE_multi_integer(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that may be given again and again; the integers are collected."""
    _define_multi(name, default, help, _integer)


def DEFINE_multi_float(name: str, default: Any, help: str, **_: Any) -> None:  # noqa: N802, A002
    """An option that may be given again and again; the numbers are collected."""
    _define_multi(name, default, help, float)


def mark_flag_as_required(flag_name: str) -> None:
    """Refuse a command line without this option."""
    FLAGS[flag_name].required = True


def mark_flags_as_required(flag_names: Sequence[str]) -> None:
    """Refuse a command line without these options."""
    for name in flag_names:
        mark_flag_as_required(name)


__all__ = [
    "DEFINE_bool", "DEFINE_boolean", "DEFINE_enum", "DEFINE_float", "DEFINE_integer", "DEFINE_list",
    "DEFINE_multi_float", "DEFINE_multi_integer", "DEFINE_multi_string", "DEFINE_string", "FLAGS",
    "Flag", "FlagValues", "mark_flag_as_required", "mark_flags_as_required",
]  # fmt: skip
