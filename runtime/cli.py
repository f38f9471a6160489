"""The program `tinyscene`: finds its verbs among the installed entry points and runs one.

The folders above the runtime register their verbs in the group `tinyscene.verbs`; a verb's module is imported only
when that verb is called (or when `--help` lists them all), so the device install never touches torch.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from .errors import InputError, TinysceneError
from .output import Output


@dataclass(frozen=True)
class Verb:
    """One verb of the command line: `run` returns the exit code (None is 0)."""

    help: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Output], int | None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program on `argv` and return its exit code: 0 done, 1 a gate failed, 2 wrong input, 3 missing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Torch's OpenMP threads spin while they wait for each other, by default so long that another program on one of two
    # cores makes training eight times slower. This short a spin is as fast on an idle machine and loses a factor of
    # three there. OpenMP reads it when it is loaded, which is after this line.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    verbs = {entry.name: entry for entry in entry_points(group="tinyscene.verbs")}
    try:
        if not arguments or arguments[0] in ("-h", "--help"):
            print(_overview(verbs))
            return 0 if arguments else 2
        if arguments[0] == "--version":
            from importlib.metadata import version

            print(f"tinyscene {version('tinyscene')}")
            return 0
        name, rest = _match(arguments, verbs)
        verb: Verb = verbs[name].load()
        namespace = _parser(name, verb).parse_intermixed_args(rest)  # options may stand among key=value words
        return verb.run(namespace, Output(namespace.json)) or 0
    except TinysceneError as error:
        print(f"tinyscene: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("tinyscene: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our stdout went away; keep the interpreter from complaining while it closes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _match(arguments: list[str], verbs: dict[str, EntryPoint]) -> tuple[str, list[str]]:
    for words in (2, 1):
        name = ".".join(arguments[:words])
        if len(arguments) >= words and name in verbs:
            return name, arguments[words:]
    group = sorted(name.replace(".", " ") for name in verbs if name.startswith(arguments[0] + "."))
    if group:
        if arguments[1:] and arguments[1] in ("-h", "--help"):
            print("\n".join(f"tinyscene {name}" for name in group))
            raise SystemExit(0)
        raise InputError(f"`tinyscene {arguments[0]}` needs one of its verbs: {', '.join(group)}")
    close = difflib.get_close_matches(arguments[0], {name.split(".")[0] for name in verbs}, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "see `tinyscene --help`"
    raise InputError(f"unknown verb {arguments[0]!r}: {hint}")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the example's line breaks and shows every default that says something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def _parser(name: str, verb: Verb) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"tinyscene {name.replace('.', ' ')}",
        description=verb.help,
        epilog=f"example:\n  {verb.example}",
        formatter_class=_HelpFormatter,
    )
    verb.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON lines on stdout instead of text")
    return parser


def _overview(verbs: dict[str, EntryPoint]) -> str:
    lines = ["usage: tinyscene VERB ...   (`tinyscene VERB --help` shows each verb's options and an example)", ""]
    width = max(map(len, verbs))
    for name in sorted(verbs):
        lines.append(f"  {name.replace('.', ' '):<{width}}  {verbs[name].load().help}")
    return "\n".join(lines)
