"""Why a worker stops, and the one exception a handler may raise to give a task back."""


class WorkerError(Exception):
    """The worker has stopped and will not come back by itself."""


class WorkerSuperseded(WorkerError):
    """Another session runs under this worker's id; two programs share it, or this one was replaced."""


class WorkerRefused(WorkerError):
    """The server does not let this worker in: no credentials, or not the right ones."""


class WorkerDismissed(WorkerError):
    """The server ended the session and asked this worker not to come back."""


class TaskDeclined(Exception):
    """Raised by a handler before it has done anything: the task is placed on another worker."""
