"""`schedctl completion bash | zsh`: a script for the shell, which asks `schedctl completion candidates` at each Tab."""

import argparse
from typing import Final

from scheduler_server.schedctl.work import Command, Work

_BASH: Final = r"""# schedctl: completion for bash. In ~/.bashrc: source <(schedctl completion bash)
_schedctl() {
    local IFS=$'\n'
    COMPREPLY=($(schedctl completion candidates "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _schedctl schedctl
"""

_ZSH: Final = r"""#compdef schedctl
# schedctl: completion for zsh. In ~/.zshrc, after compinit: source <(schedctl completion zsh)
_schedctl() {
    local -a candidates
    candidates=("${(@f)$(schedctl completion candidates "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -- ${candidates:#}
}
compdef _schedctl schedctl
"""

SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(SCRIPTS))


def _run(work: Work) -> int:
    work.surroundings.stdout.write(SCRIPTS[work.given.shell])
    return 0


COMMAND = Command(options=_options, run=_run)
