"""What went wrong, as one line for whoever typed the command."""


class Asked(Exception):
    """It was asked wrongly: an option, an id, a file of theirs. Exit code 2."""


class Failed(Exception):
    """It was asked well and did not work. Exit code 1."""
