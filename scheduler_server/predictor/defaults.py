"""What is said before anything was learned: the configured default of the type, of the category, or of all."""

from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.predictor.settings import PredictorSettings


def configured_default(settings: PredictorSettings, task: Task, predictor: str) -> Prediction:
    """The default as a prediction that nobody vouches for: confidence 0, no samples, P50 and P90 the same."""
    value = settings.type_defaults_ms.get(task.task_type)
    key = f"default of type {task.task_type}"
    if value is None:
        value = settings.category_defaults_ms.get(task.category)
        key = f"default of category {task.category}"
    if value is None:
        value, key = settings.default_ms, "default"
    return Prediction(value, value, value, value, 0.0, 0, key, predictor)
