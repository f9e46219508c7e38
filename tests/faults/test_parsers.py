"""Damaged, foreign and hostile files: what reads them says so in our words, or reads them rightly; it never breaks, hangs or fills the memory.

Each parser gets files that were valid and are mutated: bytes, lines, cells, parts of JSON, headings, arrays, and checksums made right again
afterwards. A reading must be as good as any; a refusal must be a `ValueError` that qhn itself raises and that names the file."""
import dataclasses
import io
import json
import re
import resource
import signal
import traceback
import warnings
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from random import Random

import jax
import numpy as np
import pytest
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as as_bytes

import qhn
from qhn.archive import checksum, checksum_of_arrays
from qhn.files import load, save
from qhn.hardware.journal import Attempt, Journal, read_array, read_journal
from qhn.hardware.run import Plan, _angles, hardware_status, sampler_options, stored_plan
from qhn.inference.checkpoints import Checkpoint, Keeper, go_on
from qhn.made import Made
from qhn.posterior.networks import load_networks, pack_networks
from qhn.problem.datasets import from_csv
from qhn.problem.tables import read_rows
from qhn.studies.protocol import MEASURES
from qhn.studies.restarts import read_costs
from qhn.studies.study import _check_unit, _store, _stored
from qhn.table_model import train_table

OURS = str(Path(qhn.__file__).parent)
SLOW, QUICK = 100_000, 300


# Bytes

def cut(rng, data): return sorted(rng.choices(range(len(data) + 1), k=2))
def truncate(rng, data): return data[:rng.randrange(len(data) + 1)]
def drop(rng, data): a, b = cut(rng, data); return data[:a] + data[b:]
def double(rng, data): a, b = cut(rng, data); return data[:b] + data[a:b] + data[b:]
def insert(rng, data, new): a = rng.randrange(len(data) + 1); return data[:a] + new + data[a:]
def nuls(rng, data): return insert(rng, data, b"\0" * rng.choice([1, 3, 200]))
def junk(rng, data): return insert(rng, data, rng.randbytes(rng.choice([1, 5, 60])))
def move(rng, data): a, b = cut(rng, data); return insert(rng, data[:a] + data[b:], data[a:b])
def nest(rng, data): return insert(rng, data, rng.choice([b"[", b"{", b'{"a":', b"("]) * rng.choice([1, 50, 20_000]))


def flip(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 4, 30]) if data else 0): data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


BYTES = flip, flip, truncate, drop, double, nuls, junk, move, nest


# Texts

NUMBERS = ["0", "-1", "1e400", "-1e309", "NaN", "Infinity", "1" * 400, "9" * 5000, "1e-400", "0x1F", "1_000", "1,5", "1.000", "true", "null", '""', "１２", "+-3", "1e", ".", "-", "∞"]
ENCODINGS = ["utf-16", "utf-16-le", "utf-8-sig", "latin-1", "utf-32", "cp1252", "cp037", "utf-7"]
STRANGE = ["\ufeff", "é", "�", "😀", "\r", "\u2028", "\x0b", "\x1c", "\x85", "\u202e", "'", '"', "\\", "\ud7ff", "%", "\t", ";", "|", " "]


def lines_of(text): return text.splitlines(keepends=True) or [""]
def repeat_line(rng, text): lines = lines_of(text); k = rng.randrange(len(lines)); return "".join(lines[:k] + [lines[k]] * rng.choice([2, 3, 50]) + lines[k + 1:])
def lose_line(rng, text): lines = lines_of(text); lines.pop(rng.randrange(len(lines))); return "".join(lines)
def shuffle_lines(rng, text): lines = lines_of(text); rng.shuffle(lines); return "".join(lines)
def strange(rng, text): a = rng.randrange(len(text) + 1); return text[:a] + rng.choice(STRANGE) * rng.choice([1, 2, 9]) + text[a:]
def line_ends(rng, text): return text.replace("\n", rng.choice(["\r\n", "\r", "\n\n", "\n \n", "\u2028", "\x0b\n"]))
def retyped(rng, text): a, b = rng.choice([(",", ";"), (",", "\t"), (".", ","), ('"', "'"), (",", ",,"), (":", "="), ("e", "E"), (" ", ""), ("-", "−")]); return text.replace(a, b)


def with_cell(change):
    "One of the cells between separators is changed."
    def changed(rng, text):
        parts = [part for part in _CELLS.split(text)]
        places = [k for k, part in enumerate(parts) if part and not _CELLS.fullmatch(part)]
        if not places: return text
        k = rng.choice(places)
        parts[k] = change(rng, parts[k], parts[rng.choice(places)])
        return "".join(parts)
    return changed



_CELLS = re.compile(r"([,;\n\t:\[\]{} ])")
numbered = with_cell(lambda rng, cell, other: rng.choice(NUMBERS))
blanked = with_cell(lambda rng, cell, other: rng.choice(["", "NA", "?", "-", " ", "nan", "None"]))
swapped = with_cell(lambda rng, cell, other: other)
quoted = with_cell(lambda rng, cell, other: rng.choice(['"', "'", ""]) + cell + rng.choice(['"', "'", '""']))
long = with_cell(lambda rng, cell, other: cell * rng.choice([10, 3000]))


def encoded(rng, data):
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(ENCODINGS), "replace")


TEXTS = repeat_line, lose_line, shuffle_lines, strange, line_ends, retyped, numbered, numbered, blanked, swapped, quoted, long


def mutated_text(rng, data):
    if rng.random() < 0.25: return rng.choice(BYTES)(rng, data)
    if rng.random() < 0.1: return encoded(rng, data)
    text = data.decode("utf-8", "replace")
    return rng.choice(TEXTS)(rng, text).encode("utf-8", "replace")


def often(change):
    "One mutation as a rule, several in a row at times."
    def mutate(rng, data):
        for _ in range(rng.choice([1, 1, 1, 2, 2, 5])): data = change(rng, data)[:2**20]
        return data
    return mutate


# JSON

VALUES = [None, True, False, 0, -1, 1, 2**31, 10**12, 10**30, 1.5, 1e308, float("nan"), float("inf"), "", "x", "1", "\0", "é" * 300, [], {}, [1], [[]], {"a": 1}, [None] * 3, {"": {}}, "<U1000000000", "|O", "object", [10**12], [2**62, 4], [-1]]


def places(value, path=()):
    "Paths of all parts of a JSON value."
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner: yield from places(part, (*path, key))


def at(value, path):
    for key in path: value = value[key]
    return value


def mutated_json(rng, value):
    "A part is replaced, lost, renamed, exchanged with another or wrapped."
    value = json.loads(json.dumps(value))
    paths = list(places(value))[1:]
    if not paths or rng.random() < 0.02: return rng.choice(VALUES)
    path = rng.choice(paths)
    holder, key = at(value, path[:-1]), path[-1]
    kind = rng.randrange(6)
    if kind == 0: del holder[key]
    elif kind == 1: holder[key] = rng.choice([[holder[key]], {"a": holder[key]}, [holder[key]] * 3])
    elif kind == 2: holder[key] = json.loads(json.dumps(at(value, rng.choice(paths))))
    elif kind == 3 and isinstance(holder, dict): holder[rng.choice(["x", "", "is", "key", key.upper(), "tuple"])] = holder.pop(key)
    elif kind == 4 and isinstance(holder, list): holder.append(holder[key])
    else: holder[key] = rng.choice(VALUES)
    return value


def doubled_key(rng, text):
    "The text of an object, one of its keys twice."
    found = list(re.finditer(r'"(\w+)": ', text))
    if not found: return text
    spot = rng.choice(found)
    return text[:spot.start()] + f'"{spot[1]}": {json.dumps(rng.choice(VALUES))}, ' + text[spot.start():]


def mutated_object(rng, data):
    "The text of JSON, or of lines of JSON."
    if rng.random() < 0.4: return mutated_text(rng, data)
    lines = data.decode("utf-8", "replace").split("\n")
    k = rng.randrange(len(lines))
    if rng.random() < 0.15: lines[k] = doubled_key(rng, lines[k])
    else:
        try: lines[k] = json.dumps(mutated_json(rng, json.loads(lines[k])))
        except (ValueError, RecursionError): lines[k] = lines[k - 1]
    return "\n".join(lines).encode("utf-8", "replace")


# Archives

def parts_of(data):
    "Heading and rest of a safetensors file."
    n = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + n]), data[8 + n:]


def joined(heading, rest):
    text = json.dumps(heading).encode()
    return len(text).to_bytes(8, "little") + text + rest


def signed(rng, data, change):
    "The description and the arrays changed, and checksums that agree."
    heading, arrays = parts_of(data)[0]["__metadata__"], from_bytes(data)
    name = next(name for name in heading if f"{name} format" in heading)
    told, arrays = change(rng, json.loads(heading[name]), dict(arrays))
    text = json.dumps(told)
    heading = heading | {name: text, "sha256": checksum_of_arrays(arrays), "sha256 of the description": checksum(text.encode())}
    return as_bytes(arrays, heading)


def other_arrays(rng, arrays):
    if not arrays or rng.random() < 0.6: return arrays
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    kind = rng.randrange(6)
    if kind == 0: del arrays[name]
    elif kind == 1: arrays[name] = array.ravel()[:rng.randrange(array.size + 1)].copy()
    elif kind == 2: arrays[name] = array.astype(rng.choice([np.int8, np.float64, np.bool_, np.uint32]))
    elif kind == 3: arrays[name] = array[None].copy()
    elif kind == 4: arrays["more"] = array
    else: arrays[name] = np.full(array.shape, rng.choice([0, 1, 7, 250]), array.dtype)
    return arrays


def changed(rng, told, arrays): return mutated_json(rng, told) if rng.random() < 0.8 else told, other_arrays(rng, arrays)


def mutated_archive(rng, data):
    kind = rng.random()
    if kind < 0.3: return rng.choice(BYTES)(rng, data)
    if kind < 0.55:
        heading, rest = parts_of(data)
        return joined(mutated_json(rng, heading), rest)
    return signed(rng, data, changed)


# NumPy's files

def zipped(members):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as file:
        for name, content in members.items(): file.writestr(name, content)
    return buffer.getvalue()


def other_npy(rng, content):
    "A member whose heading claims something else."
    with io.BytesIO(content) as file: array = np.load(file)
    descr = rng.choice([array.dtype.str, "|O", "<U1000000000", "<f8", "|V8", "x", "<M8[ns]", ">i4", "|S1"])
    shape = rng.choice([array.shape, (), (10**12,), (2**62, 8), (-1,), (3, 10**11), (0,), "x", (1.5,), ((),)])
    heading = repr({"descr": descr, "fortran_order": rng.choice([False, True, 3]), "shape": shape})
    if rng.random() < 0.2: heading = rng.choice(["{}", "[" * 10_000, "1", "{'descr': '<f8'}", "__import__('os')", heading[:20]])
    body = content[10 + int.from_bytes(content[8:10], "little"):]
    text = heading.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + min(len(text), 2**16 - 1).to_bytes(2, "little") + text + body


def mutated_npz(rng, data):
    if rng.random() < 0.4: return rng.choice(BYTES)(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as file: members = {name: file.read(name) for name in file.namelist()}
    name = rng.choice(sorted(members))
    kind = rng.randrange(5)
    if kind == 0: del members[name]
    elif kind == 1: members[rng.choice(["x.npy", "x", "../x.npy", name.upper()])] = members.pop(name)
    elif kind == 2: members[name] = rng.choice(BYTES)(rng, members[name])
    elif kind == 3: members[name] = members[rng.choice(sorted(members))]
    else: members[name] = other_npy(rng, members[name])
    return zipped(members)


# The parsers: what is valid, how it is mutated, and what reads it.

ROWS = "".join(f"{k / 7:.3f},{(k * 5) % 9},{'uvw'[k % 3]},{'ab'[k % 2]}\n" for k in range(12))
CSV = ["x,y,word,kind\n" + ROWS, ROWS, ("x,y,word,kind\n" + ROWS).replace(".", "§").replace(",", ";").replace("§", ","),
       "kind,n\n" + "".join(f"{'ab'[k % 2]},{k * k}\n" for k in range(9)), '"a b","q"\n' + "".join(f'"{k}, or so",{k % 2}\n' * 2 for k in range(6)),
       ",0,1,2\n" + "".join(f"{k},{k / 3},{k % 4},{k % 2}\n" for k in range(8)), "name value class\n" + "".join(f"n{k}  {k / 9:.2f} {k % 2}\n" for k in range(9))]


def reads_csv(path, rng):
    options = {"label": rng.choice([None] * 6 + ["kind", "last", 0, "nothing"]), "missing": rng.choice(["refuse", "drop", "mean"]),
               "target": rng.choice(["class"] * 5 + ["number"]), "header": rng.choice([None] * 6 + [True, False]), "sep": rng.choice([None] * 12 + [",", "tab", "space"])}
    data = from_csv(path, **options)
    for x, y in (data.train, data.test): assert np.isfinite(x).all() and np.isfinite(y).all() and x.shape == (len(y), data.n_features)
    assert np.abs(data.x_train).max() < 1e6    # scaled


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    "A small model of a table, as `qhn train` writes it."
    (path := tmp_path_factory.mktemp("model") / "table.csv").write_text(CSV[0])
    estimator = qhn.QHNClassifier(hidden=(), n_steps=2, n_restarts=2, ansatz="product", verbose=False)
    return train_table(qhn.read_table(path), estimator)


def reads_rows(model):
    def read(path, rng):
        told = model.columns.matrix(read_rows(path), rng.choice(["refuse", "mean"]), rng.choice(["refuse", "zero"]))
        assert np.isfinite(told).all()
    return read


def again(path, value):
    "Saved again, it is told in the same words."
    save(value, other := path.with_name("again"))
    first, second = (json.loads(parts_of(p.read_bytes())[0]["__metadata__"]["qhn"])["object"] for p in (path, other))
    return first, second


def reads_model(path, rng):
    load(path)


KEY = jax.random.key(0)


def training(folder):
    "A checkpoint of a short training, and what a call that goes on with it begins with."
    binn, data = qhn.BiNN((2, 1)), (np.eye(2), np.array([0, 1]))
    result = qhn.fit(qhn.BornMachine(qhn.product(binn.n_weights)), binn, data, n_steps=2, key=KEY, n_seeds=2, progress=False, checkpoint=folder)
    path = next(folder.glob("*.checkpoint"))
    made = json.loads(parts_of(path.read_bytes())[0]["__metadata__"]["qhn checkpoint"])["made"]
    return path.read_bytes(), Made(**made), result.state


def reads_checkpoint(made, begun):
    def read(path, rng):
        keeper = Keeper(Checkpoint(path.parent), made, writes=False)
        state, history, left = go_on(keeper, begun, 5)
        if history is None: return
        assert {len(values) for values in history.values()} == {5 - left} and [x.shape for x in jax.tree.leaves(state)] == [x.shape for x in jax.tree.leaves(begun)]
    return read


def written_journal(folder):
    with Journal(folder, {"backend": "aer", "shots": 100, "nested": {"a": [1, None]}}) as journal:
        for k in range(3):
            attempt = journal.write(Attempt(k, f"qhn-{k}", "f" * 64, 2.5))
            attempt = journal.write(attempt._replace(id=f"job-{k}", state="submitted"))
            if k < 2: journal.write(attempt._replace(state="done", seconds=1.5, detail="well"))
    return (folder / "journal.jsonl").read_bytes()


def reads_journal(path, rng):
    run, settings, attempts = read_journal(path.parent)
    assert isinstance(run, str) and isinstance(settings, dict)
    with Journal(path.parent) as journal:
        journal.position = rng.randrange(3)
        assert journal.used >= 0 and journal.pending >= 0 and journal.latest in [None, *attempts]
    status = hardware_status(path.parent)
    assert status["qpu_seconds"] == journal.used


PROTOCOL = {"protocol": "a" * 64, "task": "b" * 64}


def unit_of(folder):
    _store(path := folder / "xor--ELBO.npz", PROTOCOL, UNIT)
    return path.read_bytes()


UNIT = {"chosen": 1, "validation": np.ones((2, 3))} | {name: np.full((2, 3), float(k)) for k, name in enumerate(MEASURES)}


def reads_unit(path, rng):
    unit = _stored(path, PROTOCOL)
    _check_unit(path, unit)
    assert UNIT.keys() <= unit.keys() and all(np.isreal(value).all() and value.dtype.kind in "iuf" for value in unit.values())
    assert len({unit[name].shape for name in MEASURES}) == 1 and int(unit["chosen"]) >= 0


def reads_array(path, rng):
    assert isinstance(read_array(path), np.ndarray)


def reads_plan(path, rng):
    plan = stored_plan(path.parent)
    assert Plan(**dataclasses.asdict(plan)) == plan


def reads_angles(path, rng):
    assert np.isfinite(_angles(path)).all()


def reads_options(path, rng):
    given = sampler_options(path.read_bytes().decode("utf-8", "replace"), rng.random() < 0.3, rng.random() < 0.3)
    assert given is None or isinstance(given, dict)


def reads_costs(path, rng):
    assert np.isfinite(costs := read_costs(path)).all() and costs.size.bit_count() == 1


def reads_networks(path, rng):
    networks = load_networks(path)
    assert len(networks) >= 1


@pytest.fixture
def parsers(tmp_path_factory, model):
    "Name of a parser to file name, valid contents, mutation, and what reads it."
    def folder(name): return tmp_path_factory.mktemp(name)
    save(model, whole := folder("m") / "model.qhn")
    checkpoint, made, begun = training(folder("c"))
    packed = pack_networks(qhn.BiNN((2, 2, 1)), np.where(np.random.default_rng(0).random((9, 9)) < 0.5, -1, 1))
    packed.save(nets := folder("n") / "nets.qhn")
    plan = json.dumps(dataclasses.asdict(Plan(layout=(0, 1), options={"twirling": {"enable_gates": True}}))).encode()
    (folder("a") / "x").touch()
    np.savez_compressed(array := io.BytesIO(), array=np.arange(24.).reshape(2, 3, 4))
    csv = [text.encode() for text in CSV]
    return {
        "csv": ("table.csv", csv, often(mutated_text), reads_csv),
        "rows": ("table.csv", csv[:2], often(mutated_text), reads_rows(model)),
        "model": ("model.qhn", [whole.read_bytes()], mutated_archive, reads_model),
        "networks": ("nets.qhn", [nets.read_bytes()], mutated_archive, reads_networks),
        "checkpoint": ("step-00000002.checkpoint", [checkpoint], mutated_archive, reads_checkpoint(made, begun)),
        "journal": ("journal.jsonl", [written_journal(folder("j"))], often(mutated_object), reads_journal),
        "unit": ("xor--ELBO.npz", [unit_of(folder("u"))], mutated_npz, reads_unit),
        "array": ("array.npz", [array.getvalue()], mutated_npz, reads_array),
        "plan": ("plan.json", [plan], often(mutated_object), reads_plan),
        "angles": ("simulated.json", [json.dumps(np.linspace(-4, 4, 9).tolist()).encode()], often(mutated_object), reads_angles),
        "options": ("options.json", [b'{"twirling": {"enable_gates": true}, "dynamical_decoupling": {"enable": true, "sequence_type": "XY4"}}', b"{}"], often(mutated_object), reads_options),
        "costs": ("costs.txt", [b"1.5\n2\n-3e2\n.25\n", b"\n".join(b"%d" % k for k in range(16))], often(mutated_text), reads_costs),
    }


@contextmanager
def alarm(seconds):
    "A parser that hangs is stopped."
    def stop(*_): raise TimeoutError(f"no answer within {seconds} s")
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault_of(error, name, folder):
    "Why an exception is no refusal in our words; None where it is one."
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    if type(error) is not ValueError or not last.filename.startswith(OURS): return f"{place}: {error!s:.160}"
    said = str(error)
    if Path(name).stem not in said and str(folder) not in said and name != "options.json": return f"names no file: {place}: {said:.160}"
    if len(said) > 2000: return f"says {len(said)} characters: {place}: {said:.160}"
    return None


def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024    # MiB, on Linux


NAMES = ["csv", "rows", "model", "networks", "checkpoint", "journal", "unit", "array", "plan", "angles", "options", "costs"]


def outcomes(parser, name, n, folder, first=0):
    "How often it read and how often it refused, and faults by kind, with the number of one."
    file, seeds, mutate, read = parser
    folder.mkdir()
    path, counts, faults = folder / file, Counter(), {}
    for k in range(first, first + n):
        rng = Random(f"{name} {k}")
        path.write_bytes(mutate(rng, rng.choice(seeds)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with alarm(60): read(path, rng)
            counts["read"] += 1
        except Exception as error:
            why = fault_of(error, file, folder)
            counts["refused" if why is None else "fault"] += 1
            if why: faults.setdefault(why[:60], (k, why))
    return counts, faults


@pytest.mark.parametrize("name", NAMES)
def test_a_mutated_file_is_read_or_refused(name, parsers, slow, tmp_path):
    before = peak()
    counts, faults = outcomes(parsers[name], name, SLOW if slow else QUICK, tmp_path / "run")
    print(name, dict(counts))
    assert not faults, f"{counts}\n" + "\n".join(f"{k}: {why}" for k, why in faults.values())
    assert counts["read"] and counts["refused"] and peak() - before < 512
