"""How a case ended, and what all cases amount to."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """How one case ended.

    Attributes:
        case: its number, which repeats it.
        what: the case in words.
        outcome: one word, under which cases are counted.
        faults: what is wrong, in words that cases with the same cause share.
        shown: what a person would see.
        notes: further things to count.
    """

    case: int
    what: str
    outcome: str
    faults: tuple[str, ...] = ()
    shown: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        wrong = "".join(f"\n    FAULT {fault}" for fault in self.faults)
        return f"{self.case}: {self.what}: {self.outcome}{wrong}\n{_indented(self.shown)}"


@dataclass
class Tally:
    """The verdicts of one part, counted.

    Args:
        command: what repeats the part; ``--only NUMBER`` is added to it.
    """

    command: str
    outcomes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    faulty: int = 0
    faults: dict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))

    def add(self, verdict: Verdict) -> None:
        self.outcomes[verdict.outcome] += 1
        self.notes.update(verdict.notes)
        self.faulty += bool(verdict.faults)
        for fault in verdict.faults:
            self.faults[fault].append(verdict)

    def __str__(self) -> str:
        lines = [f"{self.outcomes.total()} cases of `{self.command}`", *_counts(self.outcomes)]
        if self.notes:
            lines += ["of which", *_counts(self.notes)]
        lines.append(f"{self.faulty} faulty, with {len(self.faults)} distinct faults")
        for fault, verdicts in sorted(self.faults.items(), key=lambda item: -len(item[1])):
            first = verdicts[0]
            lines += [
                f"{len(verdicts)} x {fault}",
                f"    {self.command} --only {first.case}  # {first.what}",
            ]
        return "\n".join(lines)


def gist(text: str) -> str:
    """A message without what differs from case to case: numbers, quoted values and addresses."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'..'", text)
    return re.sub(r"0x[0-9a-f]+|\d+", "N", text)[:160]


def _counts(counts: Mapping[str, int]) -> list[str]:
    return [f"{n:7,} {name}" for name, n in sorted(counts.items(), key=lambda item: -item[1])]


def _indented(text: str) -> str:
    return "\n".join(f"    | {line}" for line in text.splitlines())
