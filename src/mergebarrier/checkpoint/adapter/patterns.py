r"""Match names against the regular expressions of an adapter's configuration, in bounded time on any input.

The patterns come with a download, and a backtracking engine can be kept busy for years by twenty characters.  So a
small grammar is parsed here, and a name is matched by moving a set of positions (the bits of an integer) through it.

    ends(xy, S) = ends(y, ends(x, S));   ends(x|y, S) = ends(x, S) | ends(y, S);   ends(x*, S) = least fixed point
    ends(\b, S) = S & (W ^ W << 1), W the word characters;   ends((?=x), S) = {p in S: ends(x, {p}) is not empty}

Source: Thompson, Regular Expression Search Algorithm, 1968.  Differs from Python's ``re``: no look-behind, no back
references, no flags, no repetition or look-ahead inside of a repetition; what is outside of the grammar is refused,
never guessed.
"""

from collections.abc import Callable, Sequence
from functools import reduce

Step = Callable[["_Name", int], int]
"""From a set of positions to the set of positions where the piece may end."""

MAX_PATTERN_CHARS = 2048
_MAX_LOOKS = 8
_MAX_COUNT = 64
_MAX_DEPTH = 16
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS, _BLANKS = frozenset("0123456789"), frozenset(" \t\n\r\f\v")
# Escape -> (characters, whether all others are meant).
_CLASSES = {
    "d": (_DIGITS, False), "D": (_DIGITS, True), "w": (_WORD, False), "W": (_WORD, True), "s": (_BLANKS, False),
    "S": (_BLANKS, True),
}  # fmt: skip
_SPECIAL = frozenset("\\.^$*+?{}[]|()-/_:")


class Pattern:
    r"""A compiled pattern.

    Args:
      text: the expression.
    Raises: ValueError that says what is outside of the grammar.

    Example:
      >>> Pattern(r"layers\.[0-3]\.(q|v)_proj").ends("model.layers.2.q_proj")
      True
    """

    def __init__(self, text: str) -> None:
        """Parse ``text``."""
        if not text or len(text) > MAX_PATTERN_CHARS:
            raise ValueError(f"a pattern has 1 to {MAX_PATTERN_CHARS} characters")
        self.text = text
        if text.count("(?=") + text.count("(?!") > _MAX_LOOKS:
            raise ValueError(f"more than {_MAX_LOOKS} look-aheads")
        parser = _PatternParser(text)
        self._step = parser.alternatives(0)
        if parser.at < len(text):
            raise ValueError(f"an unmatched ) at character {parser.at}")

    def is_all_of(self, name: str) -> bool:
        """Say whether the pattern is the whole name, as ``re.fullmatch`` does."""
        return bool(self._step(_Name(name), 1) >> len(name) & 1)

    def ends(self, name: str) -> bool:
        """Say whether the pattern is the end of the name, from its start or behind a dot: peft's keys of patterns."""
        return first_ending([self], name) is not None


def first_ending(patterns: Sequence[Pattern], name: str) -> int | None:
    """Return the index of the first pattern that ``ends`` the name; None without one."""
    where = _Name(name)
    starts = where.where_one(".") << 1 | 1
    return next((i for i, pattern in enumerate(patterns) if pattern._step(where, starts) >> where.size & 1), None)


def layer_of(module: str, stacks: tuple[str, ...]) -> int | None:
    """Return the index of the layer: the first number in a name, behind the name of a stack of layers if any is given.

    Of several names of stacks the first that stands in the name counts.
    """
    parts = module.split(".")
    numbers = [place for place in range(1, len(parts) - 1) if parts[place].isascii() and parts[place].isdigit()]
    for stack in stacks or ("",):
        behind = (n for n in numbers if (f".{'.'.join(parts[:n])}".endswith(f".{stack}") if stack else n > 1))
        found = next(behind, None)
        if found is not None:
            return int(parts[found])
    return None


class _Name:
    """A name with the positions of each of its characters."""

    def __init__(self, text: str) -> None:
        self.size = len(text)
        self.any = (1 << self.size) - 1
        self._where: dict[str, int] = {}
        for i, char in enumerate(text):
            self._where[char] = self._where.get(char, 0) | 1 << i

    def where(self, chars: frozenset[str], negated: bool) -> int:
        found = 0
        for char, places in self._where.items():
            if char in chars:
                found |= places
        return self.any & ~found if negated else found

    def where_one(self, char: str) -> int:
        return self._where.get(char, 0)

    def edges(self) -> int:
        """Return the positions between a word character and none."""
        words = self.where(_WORD, False)
        return words ^ words << 1


class _PatternParser:
    """Recursive descent over the text of a pattern."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise ValueError("the pattern ends too early")
        self.at += 1
        return char

    def alternatives(self, depth: int) -> Step:
        branches = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            branches.append(self.sequence(depth))
        if len(branches) == 1:
            return branches[0]
        return lambda name, at: reduce(int.__or__, (branch(name, at) for branch in branches))

    def sequence(self, depth: int) -> Step:
        steps: list[Step] = []
        while self.peek() not in ("", "|", ")"):
            steps.append(self.piece(depth))

        def run(name: _Name, at: int) -> int:
            for step in steps:
                if not at:
                    return 0
                at = step(name, at)
            return at

        return run

    def piece(self, depth: int) -> Step:
        start = self.at
        atom, repeats = self.atom(depth)
        bounds = self.bounds()
        if bounds is None:
            return atom
        low, high = bounds
        if self.peek() == "?":
            self.at += 1  # a lazy repetition matches the same names
        if repeats and high != 1:
            raise ValueError(f"a repetition inside of a repetition at character {start}")
        return _repeat(atom, low, high)

    def bounds(self) -> tuple[int, int | None] | None:
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self.peek() in simple:
            return simple[self.take()]
        if self.peek() != "{":
            return None
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : end].partition(",") if end > 0 else ("", "", "")
        self.at = end + 1
        counts = [int(n) for n in (low, high) if n.isascii() and n.isdigit() and len(n) < 4]
        if len(counts) != 1 + bool(high) or max(counts) > _MAX_COUNT or counts[0] > counts[-1]:
            raise ValueError(f"a count is given as {{m}}, {{m,}} or {{m,n}} with at most {_MAX_COUNT}")
        return counts[0], (None if comma and not high else counts[-1])

    def atom(self, depth: int) -> tuple[Step, bool]:
        """Return the next atom, and whether it holds a repetition."""
        char = self.take()
        if char == "(":
            return self.group(depth)
        if char == "[":
            chars, negated = self.members()
            return (lambda name, at: (at & name.where(chars, negated)) << 1), False
        if char == ".":
            return (lambda name, at: (at & name.any) << 1), False
        if char == "^":
            return (lambda name, at: at & 1), False
        if char == "$":
            return (lambda name, at: at & 1 << name.size), False
        if char == "\\":
            return self.escape(), False
        if char in "*+?{":
            raise ValueError(f"nothing to repeat at character {self.at - 1}")
        return (lambda name, at: (at & name.where_one(char)) << 1), False

    def escape(self) -> Step:
        """Return the step of what follows a backslash: an edge of a word, an end of the name, or a character."""
        if self.peek() in ("b", "B"):
            inside = self.take() == "B"
            # An empty name has no place inside of anything.
            return lambda name, at: at & (~name.edges() if inside and name.size else name.edges() if not inside else 0)
        if self.peek() in ("A", "Z"):
            first = self.take() == "A"
            return lambda name, at: at & (1 if first else 1 << name.size)
        chars, negated = self.escaped()
        return lambda name, at: (at & name.where(chars, negated)) << 1

    def group(self, depth: int) -> tuple[Step, bool]:
        ahead = self.text[self.at : self.at + 2]
        if ahead in ("?:", "?=", "?!"):
            self.at += 2
        elif self.peek() == "?":
            raise ValueError(f"of groups that begin with ?, only (?: ), (?= ) and (?! ) are read, at {self.at}")
        if depth >= _MAX_DEPTH:
            raise ValueError(f"groups nest deeper than {_MAX_DEPTH}")
        start = self.at
        inner = self.alternatives(depth + 1)
        if self.take() != ")":
            raise ValueError(f"a group is not closed, from character {start}")
        body = self.text[start : self.at]
        if ahead in ("?=", "?!"):
            if "(?=" in body or "(?!" in body:
                raise ValueError(f"a look-ahead inside of a look-ahead at character {start}")
            return _look(inner, wanted=ahead == "?="), True
        return inner, any(mark in body for mark in ("*", "+", "{", "(?=", "(?!"))

    def members(self) -> tuple[frozenset[str], bool]:
        negated = self.peek() == "^"
        self.at += negated
        found: set[str] = set()
        while self.peek() != "]" or not found:
            char = self.take()
            if char == "\\":
                chars, others = self.escaped()
                if others:
                    raise ValueError(f"an escape for all other characters inside of brackets, at character {self.at}")
                found |= chars
            elif self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                last = self.take()
                if last == "\\" or not char <= last < "\x7f":
                    raise ValueError(f"a range of characters is not in order at character {self.at}")
                found |= {chr(code) for code in range(ord(char), ord(last) + 1)}
            elif char == "[":
                raise ValueError(f"a bracket inside of brackets at character {self.at - 1}")
            else:
                found.add(char)
        self.at += 1
        return frozenset(found), negated

    def escaped(self) -> tuple[frozenset[str], bool]:
        """Return the characters that an escape stands for, and whether it stands for all others."""
        char = self.take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char in _SPECIAL:
            return frozenset(char), False
        raise ValueError(f"the escape \\{char} is not read")


def _look(step: Step, *, wanted: bool) -> Step:
    """Return the step that keeps the positions from which ``step`` leads somewhere, or does not."""

    def run(name: _Name, at: int) -> int:
        kept = 0
        while at:
            first = at & -at
            kept |= first if bool(step(name, first)) == wanted else 0
            at ^= first
        return kept

    return run


def _repeat(step: Step, low: int, high: int | None) -> Step:
    def run(name: _Name, at: int) -> int:
        for _ in range(low):
            at = step(name, at)
        found = fresh = at
        for _ in range(name.size + 1 if high is None else high - low):
            fresh = step(name, fresh) & ~found
            if not fresh:
                break
            found |= fresh
        return found

    return run
