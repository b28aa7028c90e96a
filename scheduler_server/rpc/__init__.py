"""How does the world talk to it?

The wire: the only server code that knows grpc and protobuf. Messages are checked and turned into events of the core;
effects of the core are turned into messages, journal entries and watched events. No decision is made here.

    shell.py      owns the core: one event in, its effects carried out, timers armed
    checks.py     every limit of the contract, and the list of faults of one message
    decode.py     a queue service's messages to events, decode_beat.py a worker's; what is wrong is told by field path,
                  and changes nothing
    encode.py     answers to messages
    quick.py      the usual Assign, in and out, without messages in between
    errors.py     the one table from reason to status code; rich details; what a fault tells (nothing)
    durable.py    what may leave only once the journal has it on disk
    schedule.py   ScheduleService: the unary calls
                  task_watch.py what happens to tasks
    streams.py    ScheduleService.Schedule: one session per worker stream
    entry.py      entries of task streams to events, and tasks to entries: the same checks in another envelope
    admin.py      AdminService: what operators ask
                  status.py the whole, worker_view.py and worker_query.py workers, paging.py scans and pages,
                  queue_view.py what waits, accuracy.py how good predictions were, watch.py events,
                  dead_letters.py what was set aside
                  config_calls.py the configuration (config_view.py as messages, configuring.py carried out and kept,
                  config_effect.py tried, applying.py outside the core, live_settings.py what waits for a restart),
                  log_levels.py how much is logged
    following.py  what WatchTasks and WatchEvents have in common: a ring, and readers of it
    stores.py     how journal, snapshots and task streams are, for the status; measured.py the same and more, for
                  the metrics
    collector.py  Python's garbage collector, kept off the path
    health.py     grpc.health.v1 with List; reflection.py: v1 and v1alpha
    server.py     the grpc.aio server with its options and all of the above

May import: everything below it (dispatch, storage, telemetry, assignment, ...), grpc, protobuf, scheduler_api.
"""
