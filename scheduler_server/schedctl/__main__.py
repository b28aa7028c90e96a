"""`python -m scheduler_server.schedctl`, where no console script is installed."""

import sys

from scheduler_server.schedctl.main import main

sys.exit(main())
