"""How fast is it? Figures that can be repeated, each beside its own noise.

    python -m tests.performance [NAME...]      or: make bench BENCH=NAME

Every benchmark is one file in bench/ with a `run(plan)`; its name is the file's. Servers and clients are separate
processes. A ratio never comes from two lone figures: it is the median over alternated pairs of windows, with a
bootstrap interval, and stands beside the ratio of the baseline to itself, measured between those very pairs.

    stats.py        medians with intervals, quantiles, latencies from intended start times
    pairs.py        the order of windows, and what pairs they make
    processes.py    child processes: commands in, answers out, none left behind
    harness.py      what a benchmark is told, what it answers, targets, the JSON object
    fleet.py        the synthetic fleet and its tasks, the same in every process
    servers.py      starting the servers below; asking clients
    ours_server.py  the real App, its fleet loaded through its own core
    noop_server.py  the baseline: same stack, same messages, nothing between
    closed_loop.py  client: Assign or AssignBatch with outcomes, so many in flight
    decisions.py    a core of any size in this process, timed event by event and step by step
    open_loop.py    client: Assign at intended times
    beat_client.py  client: worker streams
    scale_core.py   a core of any size in a process of its own: its events and its memory
    peers/          Dask, Celery and ours behind one face, each with its workers and its client

BENCH_SECONDS and BENCH_PAIRS change the length of a window and the number of pairs.
"""
