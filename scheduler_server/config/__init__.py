"""What was this server told to do, by whom, and is it sensible?

A part declares its settings as a frozen dataclass (`scheduler_server.model.setting`); the composed dataclass
is the *schema*. `load` fills it by flags > environment > file > profile > defaults, and raises one
`ConfigError` with every fault, by name and origin. Nothing here knows any product setting, and nothing reads
`os.environ` or `sys.argv`: both are arguments.

    loaded = load(Settings, sys.argv[1:], os.environ, profiles=PROFILES)
    if loaded.wants_help: print(render_help(Settings, program="scheduler-server serve"))

Names follow from the path: `health.unhealthy_after_s` is `--health-unhealthy-after-s`,
`SCHEDULER_HEALTH_UNHEALTHY_AFTER_S` and `unhealthy_after_s` under `[health]`. A list or map is replaced as a
whole by the highest source that gives it. `live.py` is the configuration while the server runs, with changes
over all of that, and `revisions.py` what each change was. Imports only the standard library and `model.setting`.
"""

from scheduler_server.config.faults import ConfigError, Fault
from scheduler_server.config.loader import Loaded, load
from scheduler_server.config.manual import render_help, render_markdown_table
from scheduler_server.config.origin import Origin, Source
from scheduler_server.config.printout import render_config

__all__ = [
    "ConfigError",
    "Fault",
    "Loaded",
    "Origin",
    "Source",
    "load",
    "render_config",
    "render_help",
    "render_markdown_table",
]
