# SPDX-License-Identifier: LGPL-2.1-or-later
"""Binary relations over the numbers 0 to n - 1, and sets of these numbers as bit masks."""


class Relation:
    """rows[a] is the set of all b that a is related to."""

    def __init__(self, rows):
        self.rows = rows

    @staticmethod
    def of(n, pairs):
        rows = [0] * n
        for a, b in pairs:
            rows[a] |= 1 << b
        return Relation(rows)

    @staticmethod
    def identity(n):
        return Relation([1 << a for a in range(n)])

    def has(self, a, b):
        return self.rows[a] >> b & 1

    def pairs(self):
        return [(a, b) for a, row in enumerate(self.rows) for b in range(len(self.rows)) if row >> b & 1]

    def __or__(self, other):
        return Relation([a | b for a, b in zip(self.rows, other.rows)])

    def __and__(self, other):
        return Relation([a & b for a, b in zip(self.rows, other.rows)])

    def __sub__(self, other):
        return Relation([a & ~b for a, b in zip(self.rows, other.rows)])

    def __eq__(self, other):
        return self.rows == other.rows

    def between(self, before, after):
        """The part that leads from a member of one set to a member of the other."""
        return Relation([row & after if before >> a & 1 else 0 for a, row in enumerate(self.rows)])

    def inverse(self):
        return Relation.of(len(self.rows), [(b, a) for a, b in self.pairs()])

    def then(self, *others):
        """Follow this relation, and then each of the others in turn."""
        rows = self.rows
        for other in others:
            reached = []
            for row in rows:
                through = 0
                while row:
                    lowest = row & -row
                    through |= other.rows[lowest.bit_length() - 1]
                    row -= lowest
                reached.append(through)
            rows = reached
        return Relation(rows)

    def closure(self):
        """One step or more."""
        rows = list(self.rows)
        for middle, _ in enumerate(rows):
            for a, row in enumerate(rows):
                if row >> middle & 1:
                    rows[a] |= rows[middle]
        return Relation(rows)

    def any_steps(self):
        """No step or more."""
        return self.closure() | Relation.identity(len(self.rows))

    def optional(self):
        """No step or one."""
        return self | Relation.identity(len(self.rows))

    def is_irreflexive(self):
        return not any(row >> a & 1 for a, row in enumerate(self.rows))

    def is_acyclic(self):
        return self.closure().is_irreflexive()

    def is_empty(self):
        return not any(self.rows)
