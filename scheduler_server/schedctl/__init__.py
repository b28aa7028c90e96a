"""What does an operator type? `schedctl`: ask a running server, from anywhere, how things are and why.

    schedctl status | workers | worker ID | task ID | queue | predictions | alerts | events -f | deadletters | top | ...

Each command is one file in `commands/` with a `COMMAND` in it, and a line in `commands/__init__.py`; options that all
have stand in `options`. Exit codes: 0 it worked, 1 it failed, 2 it was asked wrongly, 130 after Ctrl-C; `check` has
those of monitoring. Whatever fails is told in one line on standard error, with what to look at.

    work      what a command is given: its options, the connection, what it prints on
    paper     the one place that prints: whatever comes from the wire passes through `text.shown`, so that no name can
              move a cursor or forge a line
    top/      the live screen
    bench/    a load, and what came of it

Widths come from `rich.cells`, which knows wide and combining letters, is a dependency anyway and takes 20 ms to import;
the rest of rich is not used: its tables took 150 ms to import and seconds for 5,000 rows.

Imports the client SDK, scheduler_api, grpc and rich.cells, nothing of the server: it runs where no server is.
"""
