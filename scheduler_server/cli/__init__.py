"""What does a person type?

The commands of `scheduler-server`. Each is a function from arguments to an exit code: 0 it worked, 1 it failed, 2 it
was asked wrongly (one clear line, no traceback).
"""
