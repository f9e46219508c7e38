"""What comes of a call with changed arguments, judged; as a program, how often each outcome occurs.

    python tests/faults/fuzz.py [EXAMPLES OF EACH CALLABLE] [--where]
"""
import collections
import os
import random
import re
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import jax
import numpy as np
from fuzz_calls import CALLS
from fuzz_values import variants

import qhn

PACKAGE = Path(qhn.__file__).parent
KINDS = TypeError, ValueError, OSError, ImportError, FloatingPointError
FINE = "right", "refused"


def numbers(answer):
    "The arrays of an answer, and its texts."
    if answer is None or isinstance(answer, (str, bool, Path)): return [str(answer)]
    if isinstance(answer, dict): answer = list(answer.values())
    if isinstance(answer, (list, tuple)): return [part for entry in answer for part in numbers(entry)]
    return [np.asarray(answer)]


def plain(name):
    "The answer of the valid call, as often as it is asked for."
    if name not in _PLAIN:
        call = CALLS[name]
        _PLAIN[name] = numbers(call.answer(call.function(**{key: given.value for key, given in call.arguments.items()})))
    return _PLAIN[name]


_PLAIN: dict = {}


def is_nan(part): return part.dtype.kind == "f" and np.isnan(part).any()


def agree(parts, others):
    if len(parts) != len(others): return False
    for a, b in zip(parts, others):
        if isinstance(a, str) or isinstance(b, str) or a.dtype.kind in "OU":
            if not np.array_equal(a, b): return False
        elif a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True): return False
    return True


def names_it(error, call, changed):
    "Whether a message names one of the changed arguments."
    words = [rf"\b{name}\b" for name in changed] + [call.named[name] for name in changed if name in call.named]
    return any(re.search(word, str(error)) for word in words)


def is_own(error):
    "Whether an error is raised by the package, by scikit-learn on behalf of its estimators, or by the call itself."
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return PACKAGE in last.parents or "sklearn" in last.parts


def outcome(name, chosen):
    "What comes of a call with variants (argument to variant and place), and what to say of it."
    call, changed = CALLS[name], {}
    arguments = {key: given.value for key, given in call.arguments.items()}
    for argument, (variant, place) in chosen.items(): arguments[argument] = variant.make(arguments[argument], place)
    sorts = {variant.sort for variant, _ in chosen.values()}
    changed = [argument for argument, (variant, _) in chosen.items() if variant.sort != "same"] or list(chosen)
    expected = plain(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = numbers(call.answer(call.function(**arguments)))
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        if not isinstance(error, KINDS): return "internal", told
        if not is_own(error): return "internal", told
        if not names_it(error, call, changed): return "unnamed", told
        return ("refused", told) if sorts != {"same"} else ("equivalent refused", told)
    if "bad" in sorts: return "silently accepted", str(answer)[:200]
    if any(is_nan(part) for part in answer if not isinstance(part, str)): return "silent NaN", str(answer)[:200]
    if sorts == {"same"} and not agree(answer, expected): return "silently wrong", f"{answer} instead of {expected}"[:400]
    return "right", ""


def told(name, chosen):
    return f"{name}: " + ", ".join(f"{argument} is {variant.sort}, {variant.label} ({place})" for argument, (variant, place) in chosen.items())


def drawn(name, choose):
    "One or two arguments of a call and their variants, drawn by `choose(sequence)`."
    given = CALLS[name].arguments
    both = len(given) > 1 and choose((False, False, False, True))
    first = choose(sorted(given))
    arguments = [first, choose([other for other in sorted(given) if other != first])] if both else [first]
    return {argument: (choose(variants(given[argument])), choose(range(4))) for argument in arguments}


def every(name):
    "Each variant of each argument of a call, by itself."
    for argument, given in CALLS[name].arguments.items():
        for variant in variants(given): yield {argument: (variant, 1)}


def main(n_examples, where):
    jax.config.update("jax_enable_x64", False)
    os.chdir(tempfile.mkdtemp(prefix="qhn-fuzz-"))    # some texts are names of files and folders
    found, places, choose = collections.Counter(), collections.defaultdict(list), random.Random(0).choice
    for name, call in CALLS.items():
        examples = (drawn(name, choose) for _ in range(n_examples)) if n_examples else every(name)
        for chosen in examples if call.arguments else ():
            what, why = outcome(name, chosen)
            found[what] += 1
            if what not in FINE: places[what].append(f"{told(name, chosen)}\n        {why[:300]}")
    for what in places if where else ():
        for place in places[what]: print(f"{what}: {place}")
    total = sum(found.values())
    print(f"{total} calls of {len(CALLS)} callables: " + ", ".join(f"{count} {what} ({count / total:.2%})" for what, count in found.most_common()))


if __name__ == "__main__":
    counts = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(*counts or [0], "--where" in sys.argv)
