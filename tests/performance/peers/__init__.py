"""The three systems of BENCH=peers, each with its worker processes and one client process.

    counting.py       tasks that end inside a window, and how long each took; the same for all
    setup.py          starting them, and what each part costs in processor time
    ours_worker.py    a worker of ours, by the SDK
    ours_client.py    Assign with delivery STREAM; the outcome by WatchTasks
    dask_client.py    client.submit and client.map of Dask distributed
    dask_tasks.py     the task of Dask
    celery_tasks.py   the app and the task of Celery
    celery_client.py  apply_async of Celery

What runs in the peers' environment (dask_*, celery_*) imports nothing of ours but counting.py and processes.py.
"""
