"""`schedctl context list | use | set | remove`: which servers there are, and which is meant."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, fields, replace

from scheduler_server.schedctl import contexts
from scheduler_server.schedctl.contexts import Context, Contexts
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.table import Column
from scheduler_server.schedctl.work import Adds, Command, Work

_Row = tuple[str, Context]


def _steps(add: Adds) -> None:
    add("list", "the contexts, and which is in use").set_defaults(run=_list)
    use = add("use", "make a context the one in use")
    use.add_argument("name", metavar="NAME")
    use.set_defaults(run=_use)
    made = add("set", "make or change a context, from --server, --tls, --ca-file and so on; what is not named stays")
    made.add_argument("name", metavar="NAME")
    made.add_argument(
        "--clear",
        action="append",
        default=[],
        choices=[each.name for each in fields(Context)],
        metavar="FIELD",
        help="back to the default; again: several",
    )
    made.set_defaults(run=_set)
    remove = add("remove", "forget a context")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(run=_remove)


def _list(work: Work) -> int:
    known = contexts.read(contexts.path(work.surroundings.environment))
    if work.json:
        plain = {name: asdict(context) for name, context in sorted(known.known.items())}
        work.paper.json({"current": known.current, "contexts": plain})
        return 0
    if not known.known:
        work.paper.line(
            f"no contexts: {contexts.DEFAULT_SERVER} is asked; schedctl context set NAME --server HOST:PORT makes one"
        )
        return 0
    columns: list[Column[_Row]] = [
        Column(title="", cell=lambda row: ("*", "good") if row[0] == known.current else ""),
        Column(title="CONTEXT", cell=lambda row: row[0]),
        Column(title="SERVER", cell=lambda row: row[1].server, cuts=True),
        Column(title="TLS", cell=lambda row: "yes" if row[1].secure else "no"),
        Column(title="TOKEN", cell=lambda row: row[1].token_file or "-", cuts=True, spare=1),
    ]
    work.paper.table(columns, sorted(known.known.items()))
    return 0


def _use(work: Work) -> int:
    file = contexts.path(work.surroundings.environment)
    known = contexts.read(file)
    context = known.named(work.given.name)
    contexts.write(file, replace(known, current=work.given.name))
    work.paper.line(f"{work.given.name} is in use: {context.server}")
    return 0


def _set(work: Work) -> int:
    name = contexts.check_name(work.given.name)
    file = contexts.path(work.surroundings.environment)
    known = contexts.read(file)
    context = _changed(known.known.get(name, Context()), work.given)
    contexts.check(context, f"context {name}")
    current = known.current or name  # the first one is meant from then on
    contexts.write(file, Contexts(current=current, known={**known.known, name: context}))
    work.paper.line(f"context {name}: {context.server}" + (" (in use)" if current == name else ""))
    return 0


def _changed(context: Context, given: argparse.Namespace) -> Context:
    told: Mapping[str, object] = vars(given)
    named = {each.name: told[each.name] for each in fields(Context) if each.name in told}
    both = set(named) & set(given.clear)
    if both:
        raise Asked(f"context set: {min(both)} is both given and cleared")
    cleared = {each.name: each.default for each in fields(Context) if each.name in given.clear}
    return replace(context, **cleared, **named)  # type: ignore[arg-type] # names and types are those of the options


def _remove(work: Work) -> int:
    file = contexts.path(work.surroundings.environment)
    known = contexts.read(file)
    known.named(work.given.name)
    rest = {name: context for name, context in known.known.items() if name != work.given.name}
    contexts.write(file, Contexts(current="" if known.current == work.given.name else known.current, known=rest))
    work.paper.line(f"context {work.given.name} is forgotten")
    return 0


COMMAND = Command(steps=_steps)
