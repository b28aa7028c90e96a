"""What does it look like when it works?

`scheduler-server demo` (`make demo`): a real server, six real worker processes of different speed, slots and
capabilities, and a queue client that sends real tasks, some of them in bursts, so that tasks wait and are told when
they should start. Afterwards the same tasks arrive at the same instants and the same workers get them in turn, without
a scheduler: measured, not simulated. Tables compare what was said with what happened, and the one with the other.

With `--queue redis` (`make demo QUEUE=redis`) the tasks come by a stream of a Redis of the demo's own, one worker's
process is killed on the way, and at the end Redis and the server are asked whether anything was lost.

It uses the server as a stranger would: through `scheduler_server.client`, `scheduler_server.worker` and the contract.
Where it must be a server itself, for round robin, it speaks the contract with grpc. Nothing of the server is imported.

    main.py            starts everything, ends everything, and the exit code
    stage.py           what a story is played with, and one phase of it
    against_turns.py   the story with round robin         over_redis.py      the one with Redis and a killed worker
    arrivals.py        which tasks, how large, when: all from one seed
    work.py, pace.py   what a task really does, and how a worker is made slow
    leash.py           nobody outlives the demo, whatever kills it
    fleet.py           the workers' processes                worker_process.py  one of them
    server_process.py  the server's process                  server_view.py     what it says of itself
    redis_process.py   Redis' process                        kill.py            who is killed, and what is heard of it
    account.py         what Redis and the server say was lost
    queue_client.py    the tasks through the scheduler       way_in.py          how they come to it
    prospect.py        what it says of a task that waits     waiting_view.py    asked again and again
    round_robin.py     the same tasks in turn                taking_turns.py    the phase that does so
    tape.py            what was measured, the same for both
    figures.py         what follows from it                  waits.py           did expected starts hold?
    scene.py           what there is to show of a phase      screen.py          shows it
    plain.py           in lines                              picture.py         on a terminal
    summary.py         when it is over                       task_tables.py     its tables of tasks
"""
