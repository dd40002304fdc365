"""Who is next where the slots of this machine are taken: the rule of ``flows.jobs.shares``."""

from collections import Counter, OrderedDict


class Line:
    """Commands that wait for a slot; their submitters take turns.

    The next one is of whoever has the fewest commands in slots; among those, of whose turn was longest ago,
    and then of who came first; and of theirs, the oldest.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, OrderedDict[str, None]] = {}  # by submitter: those who came first are first
        self._submitters: dict[str, str] = {}  # by token
        self._begun: Counter[str] = Counter()
        self._last_turns: dict[str, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._submitters)

    def __contains__(self, token: object) -> bool:
        return token in self._submitters

    def add(self, token: str, submitter: str) -> None:
        """Let the command wait, behind the others of its submitter."""
        self._waiting.setdefault(submitter, OrderedDict())[token] = None
        self._submitters[token] = submitter

    def remove(self, token: str) -> None:
        """Let the command wait no more; harmless when it does not."""
        submitter = self._submitters.pop(token, None)
        if submitter is not None:
            del self._waiting[submitter][token]
            self._forget_unless_here(submitter)

    def next(self) -> tuple[str, str]:
        """Begin a command, and return its token and submitter; ValueError when none waits."""
        submitter = min(self._waiting, key=lambda name: (self._begun[name], self._last_turns.get(name, 0)))
        token = next(iter(self._waiting[submitter]))
        self._turn += 1
        self._last_turns[submitter] = self._turn
        self.begin(submitter)
        self.remove(token)
        return token, submitter

    def begin(self, submitter: str) -> None:
        """Note that a command of theirs has a slot."""
        self._begun[submitter] += 1

    def end(self, submitter: str) -> None:
        """Note that it has none any more."""
        self._begun[submitter] -= 1
        self._forget_unless_here(submitter)

    def _forget_unless_here(self, submitter: str) -> None:
        if not self._waiting.get(submitter, True):
            del self._waiting[submitter]
        if submitter not in self._waiting and not self._begun[submitter]:
            del self._begun[submitter]
            self._last_turns.pop(submitter, None)
