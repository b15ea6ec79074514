"""A program of mistakes that a type checker must find, each on its line and on no other."""

import mergebarrier as mb

mb.protect("model")  # wrong: no output
mb.protect("model", "out", "key")  # wrong: the key has a name
mb.protect("model", "out", method="exact")  # wrong: a protection, not its name
mb.merge(["a", "b"], "out", method=mb.Exact())  # wrong: a protection is no merge
mb.merge(["a", "b"], "out", method=mb.Ties(0.5))  # wrong: parameters have names
print(mb.verify("a", "b").kl_nat)  # wrong: no such figure
mb.verify("a", "b").equal = True  # wrong: a report is frozen
mb.scan("model", base="base", fail_on="catastrophic")  # wrong: no such severity
mb.scan(["model"], each="yes")  # wrong: a flag, no word
