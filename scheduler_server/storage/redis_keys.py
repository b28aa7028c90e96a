"""The names of a snapshot's keys, and what may be moved where in one step.

    {prefix}:snapshot               pointer to the newest generation
    {prefix}:snapshot.previous      pointer to the one before, the fallback
    {prefix}:snapshot.kept          pointer to one that a server did not take over, kept until somebody decides
    {prefix}:snapshot.version-N     pointer to one of a newer version, moved aside by an older server; the one before
                                    it as .version-N.previous
    {prefix}:snapshot.damaged       pointer to one that could not be read; gone after a week
    {prefix}:snapshot:GENERATION:I  its chunks

The braces are part of the names: in a cluster they put all keys into one slot, which is what makes one step of many.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

DAMAGED_FOR_S = 7 * 86_400
"""How long damaged editions are kept to look into: over a long weekend; what fills memory must not stay for ever."""

UNFINISHED_FOR_S = 3_600
"""Life of the chunks of an edition that is being written: should its writer die, they go by themselves."""

_SWITCH = """
for i = 1, 2 do
  local found = redis.call('GET', KEYS[i])
  if (found or '') ~= ARGV[i] then return 'changed' end
end
local at = 3
while ARGV[at] do
  if ARGV[at] == 'persist' and redis.call('EXISTS', KEYS[tonumber(ARGV[at + 1])]) == 0 then return 'missing' end
  at = at + 3
end
at = 3
while ARGV[at] do
  local what, key, other = ARGV[at], KEYS[tonumber(ARGV[at + 1])], ARGV[at + 2]
  if what == 'persist' then redis.call('PERSIST', key)
  elseif what == 'rename' then redis.call('RENAME', key, KEYS[tonumber(other)])
  elseif what == 'unlink' then redis.call('UNLINK', key)
  elseif what == 'expire' then redis.call('EXPIRE', key, other)
  elseif what == 'set' then redis.call('SET', key, other) end
  at = at + 3
end
return 'done'
"""
"""Compares the two pointers with what the plan was made for, then does all of it. Redis runs nothing in between."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one prefix."""

    prefix: str

    @property
    def newest(self) -> str:
        """The pointer to the newest generation."""
        return f"{{{self.prefix}}}:snapshot"

    @property
    def previous(self) -> str:
        """The pointer to the one before."""
        return f"{self.newest}.previous"

    @property
    def kept(self) -> str:
        """The pointer to one that nobody took over."""
        return f"{self.newest}.kept"

    @property
    def damaged(self) -> str:
        """The pointer to one that could not be read."""
        return f"{self.newest}.damaged"

    def of_version(self, version: int) -> str:
        """The pointer to one of a newer version."""
        return f"{self.newest}.version-{version}"

    def chunk(self, generation: str, number: int) -> str:
        """One chunk."""
        return f"{self.newest}:{generation}:{number}"

    def chunks(self, named: tuple[str, int] | None) -> list[str]:
        """All chunks of a generation."""
        return [self.chunk(named[0], number) for number in range(named[1])] if named else []


@dataclass(slots=True)
class Switch:
    """Steps that happen together or not at all, and only if both pointers are still what they were."""

    keys: Keys
    newest: bytes | None
    previous: bytes | None
    steps: list[tuple[str, str, Any]] = field(default_factory=list)

    def rename(self, key: str, other: str) -> None:
        """Give a key another name, in place of what has it."""
        self.steps.append(("rename", key, other))

    def put(self, key: str, value: bytes) -> None:
        """Set a key."""
        self.steps.append(("set", key, value))

    def each(self, what: str, keys: Iterable[str], about: int = 0) -> None:
        """`persist`, `unlink`, or `expire` after `about` seconds; `persist` needs the key to be there."""
        self.steps += [(what, key, about) for key in keys]

    def run(self, client: Any) -> str:
        """`done`; `changed` where somebody was faster, `missing` where a chunk is gone: then nothing was done."""
        names = [self.keys.newest, self.keys.previous]
        numbers = {name: number for number, name in enumerate(names, 1)}

        def number(name: str) -> int:
            if name not in numbers:
                names.append(name)
                numbers[name] = len(names)
            return numbers[name]

        arguments: list[Any] = [self.newest or b"", self.previous or b""]
        for what, key, about in self.steps:
            arguments += [what, number(key), number(about) if what == "rename" else about]
        answer = client.eval(_SWITCH, len(names), *names, *arguments)
        return answer.decode() if isinstance(answer, bytes) else str(answer)
