"""And if prediction fails?

Two ordinary parts, neither of them an `except` clause. `round_robin.py` chooses without any prediction or score: next
in turn among the workers that may take the task. `breaker.py` decides when predictor and scorer are not even asked:
after three failures in a row, for ten seconds, then one trial. It keeps one state for the whole server and one per task
type, so that one poisoned type does not cost the others their predictions.

May import: model. What it chooses from comes in as an argument.
"""
