"""scheduler-server: which worker should run this task, when will it start, and why?

The map of the house. Each folder answers one question; its `__init__.py` is the door. Imports go down only.

    app.py        the one place that constructs and connects the parts; __main__.py starts it
    kept_journal  the journal of a server: what the last run left in it is so again
    config        settings by flags, environment, file and default, every fault at once
    rpc/          the wire: the only server code that knows grpc and protobuf
    dispatch/     tasks in and out by streams: Redis consumer, hand-over, dead letters
    shadow/       what would another policy have decided? beside the live one, never acting
    history/      what happened? from decisions and their outcomes to the log, and back
    storage/      what survives: the journal, snapshots, the state folder
    telemetry/    what is measured and logged
    access/       who may do what?
    alerts/       is the fleet all right?
    simulation/   what would have happened? histories, predictors replayed over them, the core on a virtual clock
    assignment/   the decision: START READING HERE
    registry/     who can work?
    predictor/    how long will it take?
    scorer/       who is best?
    fallback/     and if prediction fails?
    model/        what are the things?
    worker/       the SDK of workers
    client/       the SDK of queue services
    credentials   how does a client prove who it is? for both SDKs and schedctl
    schedctl/     what does an operator type?
    demo/         real workers, a real queue, in one command
"""
