"""Jobs on a service that crashes its client, fails, delays and loses replies at every point: nothing is paid twice, and the bits are the same."""
import copy
import errno
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qhn.hardware.jobs import (Budget, BudgetSpent, JobCancelled, JobFailed, JobTimeout,
                               QueueTooLong, Status, fetch, run_job)
from qhn.disk import fingerprint, whole_file
from qhn.hardware.journal import Journal, read_journal

RUN = {"circuit": "product", "shots": 7}


def payload(number): return {"job": number, "angles": np.full((2, 3), number / 10), "shots": 7}
def true_bits(payload): return np.random.default_rng(payload["job"]).integers(0, 2, (2, 7, 3), np.uint8)


@pytest.fixture(autouse=True, scope="module")
def fast_disk():
    "No test pulls the plug, so nothing has to reach the plates; those that play a crash keep their own account of what is safe."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


class Crash(BaseException):
    "The power is gone."


class Fate:
    "Decides at every point of a life of the program whether it goes on, crashes, or loses the connection."
    def __init__(self): self.schedule, self.points = {}, 0

    def point(self, connected=True):
        event = self.schedule.get(self.points)
        self.points += 1
        if event == "crash": raise Crash
        if event == "lost" and connected: raise ConnectionError("lost")


class Device:
    "The service as it really is: what it keeps survives its clients. `ends[k]` is the end of the k-th submission, after `delay` questions."
    def __init__(self, ends=(), delay=1, seconds=2.0):
        self.ends, self.delay, self.seconds, self.jobs, self.asked = list(ends), delay, seconds, {}, {}

    def submit(self, payload, tag):
        assert tag not in [tag for tag, _, _ in self.jobs.values()], "one submission to a tag"
        end = self.ends[len(self.jobs)] if len(self.jobs) < len(self.ends) else "done"
        job_id = f"job-{len(self.jobs)}"
        self.jobs[job_id] = (tag, payload, end)
        return job_id

    def status(self, job_id):
        asked = self.asked[job_id] = self.asked.get(job_id, -1) + 1
        if asked < self.delay: return Status(("queued", "running")[asked % 2])
        return Status(self.jobs[job_id][2], self.seconds, "so it is")

    def estimate(self, payload): return self.seconds
    def find(self, tag): return [job_id for job_id, (own, _, _) in self.jobs.items() if own == tag]
    def result(self, job_id): return true_bits(self.jobs[job_id][1])


class Client:
    "The service as a client sees it: at every call something may happen before the device hears it, and after."
    def __init__(self, device, fate): self.device, self.fate = device, fate

    def __getattr__(self, name):
        def call(*args):
            self.fate.point()
            answer = getattr(self.device, name)(*args)
            self.fate.point()
            return answer
        return call


class Disk:
    "A folder on a disk that keeps what was synced; of what was not, a crash leaves a part."
    def __init__(self, folder, fate, keeps):
        self.folder, self.fate, self.keeps, self.replace = Path(folder), fate, keeps, os.replace
        self.safe = {path.stat().st_ino: path.stat().st_size for path in self.folder.glob("*")}

    def sync(self, descriptor):
        self.fate.point(connected=False)
        self.safe[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size
        self.fate.point(connected=False)

    def rename(self, source, target):
        self.fate.point(connected=False)
        self.replace(source, target)
        self.fate.point(connected=False)

    def crash(self):
        for path in self.folder.glob("*"):
            size = path.stat().st_size
            safe = min(self.safe.get(path.stat().st_ino, 0), size)
            os.truncate(path, safe + int(self.keeps * (size - safe)))


def program(service, folder, n_jobs, budget=Budget(), digits=None, **options):
    "A run: so many jobs, one after the other, with angles whose last digits are those of this machine. Returns all bits."
    with Journal(folder, RUN) as journal:
        asked = lambda k: payload(k) if digits is None else payload(k) | {"angles": journal.settled(payload(k)["angles"] + digits)}
        return [run_job(service, journal, budget, asked(k), poll=0, sleep=lambda seconds: None, **options) for k in range(n_jobs)]


def lives(device, folder, schedules, keeps=0.5, n_jobs=3):
    "The program is started anew after every crash and every error, with one schedule a life and on another machine, until it ends."
    bits, points = None, []
    for life, schedule in enumerate([*schedules, *[{}] * 20]):
        fate = Fate()
        fate.schedule = schedule
        disk = Disk(folder, fate, keeps)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", disk.sync)
            patch.setattr(os, "replace", disk.rename)
            try: bits = program(Client(device, fate), folder, n_jobs, digits=1e-7 * (-1)**life)
            except Crash: disk.crash()
            except (ConnectionError, JobFailed, JobCancelled): pass
        points.append(fate.points)
        if bits is not None: return bits, points
    raise AssertionError("the run does not end")


def check(device, folder, bits, n_jobs=3):
    "Every job has ended well once, each submission is in the journal, and the bits are those of a calm run."
    for k in range(n_jobs): np.testing.assert_array_equal(bits[k], true_bits(payload(k)))
    ended_well = [submitted["job"] for _, submitted, end in device.jobs.values() if end == "done"]
    assert sorted(ended_well) == list(range(n_jobs)), "a finished job was paid twice"
    _, _, attempts = read_journal(folder)
    assert [attempt.id for attempt in attempts] == list(device.jobs)
    assert [attempt.state for attempt in attempts] == [end for _, _, end in device.jobs.values()]
    assert sum(attempt.seconds for attempt in attempts) == device.seconds * len(device.jobs)


ENDS = st.lists(st.sampled_from(["done", "failed", "cancelled"]), max_size=6)
SCHEDULES = st.lists(st.dictionaries(st.integers(0, 70), st.sampled_from(["crash", "lost"]), min_size=1, max_size=4), max_size=5)


@given(SCHEDULES, ENDS, st.integers(0, 3), st.floats(0, 1))
@settings(max_examples=150)
def test_any_schedule_of_trouble_pays_once_and_gives_the_same_bits(schedules, ends, delay, keeps):
    device = Device(ends, delay)
    with TemporaryDirectory() as folder:
        bits, _ = lives(device, folder, schedules, keeps)
        check(device, folder, bits)


@pytest.mark.parametrize("event", ["crash", "lost"])
@pytest.mark.parametrize("keeps", [0.0, 0.9, 1.0])
def test_one_event_at_every_point(event, keeps, tmp_path):
    _, (points,) = lives(Device(["failed"]), tmp_path / "calm", [], n_jobs=2)
    assert points > 50
    for point in range(points):
        device, folder = Device(["failed"]), tmp_path / str(point)
        bits, used = lives(device, folder, [{point: event}], keeps, n_jobs=2)
        check(device, folder, bits, n_jobs=2)
        assert len(used) <= 2


def test_two_crashes_at_every_pair_of_points_of_one_job(tmp_path):
    _, (points,) = lives(Device(), tmp_path / "calm", [], n_jobs=1)
    for first in range(points):
        for second in range(points):
            device = Device()
            with TemporaryDirectory() as folder:
                bits, _ = lives(device, folder, [{first: "crash"}, {second: "crash"}], n_jobs=1)
                check(device, folder, bits, n_jobs=1)


def test_the_last_line_may_be_cut_at_every_byte(tmp_path):
    "After every line of a run, cut anywhere: the same command goes on, without a new job at the service."
    device = Device(["failed"])
    bits, submitted = program(device, tmp_path, 1), dict(device.jobs)
    file = tmp_path / "journal.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 3 * 2   # a header, and three lines for each of two attempts
    for kept in range(1, len(lines)):
        for length in range(len(lines[kept])):
            file.write_bytes(b"".join(lines[:kept]) + lines[kept][:length])
            np.testing.assert_array_equal(program(device, tmp_path, 1), bits)
            assert device.jobs == submitted
            assert file.read_bytes() == b"".join(lines)


def test_a_cut_first_line_is_a_new_run(tmp_path):
    with Journal(tmp_path, RUN) as journal: run = journal.run
    file = tmp_path / "journal.jsonl"
    whole = file.read_bytes()
    for cut in range(1, len(whole) + 1):
        file.write_bytes(whole[:-cut])
        with pytest.raises(ValueError, match="holds no journal"): Journal(tmp_path)
        with Journal(tmp_path, RUN) as journal: assert journal.run != run and journal.attempts == []


@pytest.mark.parametrize("writes", range(5))   # attempt, id, bits and their name, end
def test_a_full_disk_leaves_whole_lines(writes, tmp_path, monkeypatch):
    def full(descriptor):
        nonlocal writes
        writes -= 1
        if writes < 0: raise OSError(28, "No space left on device")
    device = Device()
    with Journal(tmp_path, RUN) as journal:
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
            patch.setattr(os, "fsync", full)
            run_job(device, journal, Budget(), payload(0), poll=0)
        np.testing.assert_array_equal(run_job(device, journal, Budget(), payload(0), poll=0), true_bits(payload(0)))
    assert len(device.jobs) == 1
    with Journal(tmp_path, RUN) as journal: assert [(attempt.id, attempt.state) for attempt in journal.attempts] == [("job-0", "done")]


def test_a_finished_run_asks_nobody(tmp_path):
    bits = program(Device(["failed", "done"]), tmp_path, 3)
    np.testing.assert_array_equal(program(None, tmp_path, 3), bits)


class Meter(Device):
    "A device whose jobs take other times than it says, ended well or badly."
    def __init__(self, estimates, times, ends):
        super().__init__(ends)
        self.estimates, self.times, self.said = estimates, times, []
    def estimate(self, payload):
        self.said.append(self.estimates[len(self.said) % len(self.estimates)])
        return self.said[-1]
    def time(self, k): return self.times[k % len(self.times)]
    def status(self, job_id):
        status = super().status(job_id)
        return status._replace(seconds=self.time(int(job_id[4:]))) if status.state in ("done", "failed", "cancelled") else status


amounts = st.lists(st.integers(0, 40), min_size=1, max_size=5)


@given(amounts, amounts, ENDS, st.integers(0, 100))
def test_the_budget_is_passed_by_no_more_than_the_last_misestimate(estimates, times, ends, limit):
    device, budget = Meter(estimates, times, ends), Budget(limit)
    with TemporaryDirectory() as folder:
        for _ in range(8):   # the same command, again and again
            try:
                program(device, folder, 6, budget)
                break
            except (JobFailed, JobCancelled): pass
            except BudgetSpent: break
        used = [device.time(k) for k in range(len(device.jobs))]
        with Journal(folder) as journal:
            assert journal.used == sum(used) and journal.pending == 0
            assert budget.left(journal) == limit - sum(used)
            submitted = [attempt.estimate for attempt in journal.attempts if attempt.id]
    for k in range(len(used)): assert sum(used[:k]) + submitted[k] <= limit
    if used: assert sum(used) <= limit + used[-1] - submitted[-1]


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_seconds_that_nobody_tells_are_charged_as_estimated(state, tmp_path):
    device = Device([state], delay=0, seconds=4.0)
    status = device.status
    device.status = lambda job_id: status(job_id)._replace(seconds=None)
    with Journal(tmp_path, RUN) as journal:
        try: run_job(device, journal, Budget(), payload(0), poll=0, retries=0)
        except (JobFailed, JobCancelled): pass
        assert (journal.used, Budget(7).left(journal)) == (4, 3)
        with pytest.raises(BudgetSpent): run_job(device, journal, Budget(7), payload(journal.position), poll=0)


def test_budget_and_estimate_must_be_told(tmp_path):
    with pytest.raises(ValueError, match="got max_qpu_seconds=None"): Budget(None)
    with Journal(tmp_path, RUN) as journal, pytest.raises(ValueError, match="got estimate=None"):
        run_job(Device(seconds=None), journal, Budget(), payload(0))


def test_a_budget_counts_jobs_that_are_out_and_survives_the_program(tmp_path):
    device, budget = Device(delay=math.inf, seconds=4.0), Budget(10)
    with Journal(tmp_path, RUN) as journal, pytest.raises(QueueTooLong): run_job(device, journal, budget, payload(0), max_queue=0)
    with Journal(tmp_path, RUN) as journal:
        assert (journal.used, journal.pending, budget.left(journal)) == (0, 4, 6)
        assert budget.report(journal) == "0.0 of 10 QPU seconds used, 6.0 left"
    device.delay = 0
    with pytest.raises(BudgetSpent, match=r"next job needs about 4.0 QPU seconds; 8.0 of 10 QPU seconds used, 2.0 left"): program(device, tmp_path, 3, budget)
    assert len(device.jobs) == 2
    program(device, tmp_path, 3, Budget(12))
    assert len(device.jobs) == 3


def test_after_a_stop_the_same_payload_goes_on_with_the_same_job(tmp_path):
    device = Device(["cancelled"], delay=0)
    with Journal(tmp_path, RUN) as journal:
        with pytest.raises(JobCancelled): run_job(device, journal, Budget(), payload(0))
        assert journal.position == 0
        np.testing.assert_array_equal(run_job(device, journal, Budget(), payload(0)), true_bits(payload(0)))
        assert journal.position == 1
        assert [attempt.tag.split("-")[2:4] for attempt in journal.attempts] == [["0", "0"], ["0", "1"]]


def moody(*states):
    "A device that gives these states in turn, and the last one for ever."
    device, left = Device(), list(states)
    device.status = lambda job_id: left.pop(0) if len(left) > 1 else left[0]
    return device


class Clock:
    "Seconds that pass while one sleeps."
    now = 0.0
    def __call__(self): return self.now
    def sleep(self, seconds): self.now += seconds


@pytest.mark.parametrize("states, error, text, seconds", [
    ([Status("queued", detail="place 9")], QueueTooLong, r"job 0 \(job-0\) has been queued for 30 s \(place 9\)\. It stays at the service.*again to wait for it, or cancel", 30),
    ([Status("queued"), Status("running")], JobTimeout, r"job 0 \(job-0\) has been running for 20 s\. It stays", 25),
    ([Status("queued")] * 4 + [Status("running")] * 3 + [Status("queued")], QueueTooLong, r"queued for 30 s", 65),
    ([Status("queued"), Status("cancelled", 1.0, "by the user")], JobCancelled, r"was cancelled \(by the user\)\. Run the same command again to submit", 5),
    ([Status("failed", 1.0, "too hot")], JobFailed, r"job 0 \(job-1\) failed, and so did 1 before it \(too hot\)\. Run the same command", 0),
    ([Status("failed")], JobFailed, r"failed, and so did 1 before it\. Run", 0),
    ([Status("DONE")], ValueError, r"status of job job-0 must be one of queued, .*, got 'DONE'", 0),
])
def test_each_end_has_its_message(states, error, text, seconds, tmp_path):
    device, clock = moody(*states), Clock()
    with Journal(tmp_path, RUN) as journal, pytest.raises(error, match=text):
        run_job(device, journal, Budget(), payload(0), timeout=20, max_queue=30, poll=5, retries=1, clock=clock, sleep=clock.sleep)
    assert clock.now == seconds
    assert len(device.jobs) == (2 if error is JobFailed else 1)


@pytest.mark.parametrize("name", ["estimate", "find", "submit", "status", "result"])
def test_a_lost_connection_is_tried_again_and_then_says_so(name, tmp_path):
    device, slept, calls = Device(delay=0), [], []
    real = getattr(device, name)
    def flaky(*args):
        calls.append(args)
        if len(calls) <= 2: raise ConnectionError("cable out")
        return real(*args)
    setattr(device, name, flaky)
    with Journal(tmp_path, RUN) as journal:
        with pytest.raises(ConnectionError, match=r"cannot be reached \(cable out; tries: 2\).*run the same command again") as caught:
            run_job(device, journal, Budget(), payload(0), retries=1, poll=3, sleep=slept.append)
        assert slept == [3] and str(caught.value.__cause__) == "cable out"
        np.testing.assert_array_equal(run_job(device, journal, Budget(), payload(0), retries=0), true_bits(payload(0)))
    assert len(device.jobs) == 1


def test_other_errors_of_a_service_are_not_tried_again(tmp_path):
    device = Device()
    device.submit = lambda *_: (_ for _ in ()).throw(PermissionError("no credit"))
    with Journal(tmp_path, RUN) as journal, pytest.raises(PermissionError, match="no credit"): run_job(device, journal, Budget(), payload(0))
    del device.submit
    assert len(program(device, tmp_path, 1)) == 1 and len(device.jobs) == 1


@pytest.mark.parametrize("bits", [np.zeros((2, 7, 0)), np.zeros((7, 3)), np.full((1, 7, 3), -1), np.full((1, 7, 3), np.nan)])
def test_only_bits_are_stored(bits, tmp_path):
    device = Device(delay=0)
    device.result = lambda job_id: bits
    with Journal(tmp_path, RUN) as journal, pytest.raises(ValueError, match=r"result must be bits 0 and 1 of shape \(B, shots, n\)"):
        run_job(device, journal, Budget(), payload(0))
    assert read_journal(tmp_path)[2][0].state == "submitted" and not list(tmp_path.glob("*.npz"))
    device.result = lambda job_id: true_bits(payload(0)).astype(bool)   # any type that holds bits will do
    np.testing.assert_array_equal(program(device, tmp_path, 1)[0], true_bits(payload(0)))
    assert len(device.jobs) == 1


def test_lost_bits_are_fetched_again_and_damaged_ones_refused(tmp_path):
    device = Device(delay=0)
    bits = program(device, tmp_path, 2)
    files = sorted(tmp_path.glob("*.npz"))
    files[0].unlink()
    np.testing.assert_array_equal(program(device, tmp_path, 2), bits)
    data = bytearray(files[1].read_bytes())
    data[len(data) // 2] ^= 255
    files[1].write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read: .*; delete it and run the same command again"): program(device, tmp_path, 2)
    files[1].unlink()
    np.testing.assert_array_equal(program(device, tmp_path, 2), bits)
    assert len(device.jobs) == 2
    with Journal(tmp_path) as journal: assert journal.used == 4.0


def test_fetch_takes_what_has_ended_and_submits_nothing(tmp_path):
    device = Device(["done", "failed"], delay=1)
    with Journal(tmp_path, RUN) as journal, pytest.raises(QueueTooLong): run_job(device, journal, Budget(), payload(0), max_queue=0)
    with Journal(tmp_path) as journal:
        assert fetch(device, journal) == [0] and fetch(device, journal) == []
        run_job(None, journal, Budget(), payload(0))
        with pytest.raises(QueueTooLong): run_job(device, journal, Budget(), payload(1), max_queue=0)
        assert fetch(device, journal) == [] and journal.attempts[-1].state == "failed"
    assert len(device.jobs) == 2


def test_fetch_finds_a_job_whose_id_was_never_written(tmp_path):
    device, fate = Device(delay=0), Fate()
    client = Client(device, fate)
    fate.schedule = {5: "crash"}   # after the answer to submit
    with pytest.raises(Crash): program(client, tmp_path, 1)
    assert len(device.jobs) == 1 and read_journal(tmp_path)[2][0].id is None
    with Journal(tmp_path) as journal: assert fetch(device, journal) == [0]
    assert len(program(None, tmp_path, 1)) == 1


def test_fetch_without_a_job_at_the_service(tmp_path):
    device = Device()
    with Journal(tmp_path, RUN) as journal, pytest.raises(BudgetSpent): run_job(device, journal, Budget(1), payload(0))
    with Journal(tmp_path) as journal: assert fetch(device, journal) == []
    assert not device.jobs


WORKER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from qhn.hardware.jobs import Budget, Status, run_job
from qhn.hardware.journal import Journal

folder, last, store, points = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), 0
store.touch()

def point():
    global points
    points += 1
    if points == last: os.kill(os.getpid(), signal.SIGKILL)

class Service:
    def estimate(self, payload): return 1.0
    def find(self, tag): return [line.split()[0] for line in store.read_text().splitlines() if line.split()[1] == tag]
    def submit(self, payload, tag):
        point()
        with open(store, "a") as file: file.write(f"{tag}-id {tag} {payload['job']}\\n")
        point()
        return tag + "-id"
    def status(self, job_id): return Status("done", 1.0)
    def result(self, job_id): return np.random.default_rng(int(job_id.split("-")[2])).integers(0, 2, (1, 5, 3))

sync, replace = os.fsync, os.replace
def watched(call):
    def inner(*args):
        point()
        call(*args)
        point()
    return inner
os.fsync, os.replace = watched(os.fsync), watched(os.replace)

with Journal(folder, {"run": 1}) as journal:
    for job in range(3): print(run_job(Service(), journal, Budget(), {"job": job}, poll=0).tobytes().hex())
"""


def test_killed_processes_resume(tmp_path):
    "Real processes, really killed, at points that move through the run; each is the same command."
    def start(folder, last): return subprocess.run([sys.executable, "-c", WORKER, tmp_path / folder, str(last), tmp_path / f"{folder}.service"],
                                                   capture_output=True, text=True)
    calm = start("calm", 0)
    assert calm.returncode == 0, calm.stderr
    for last in (3, 7, 8, 9, 10, 12, 13, 15, 16, 17, 20):
        done = start("killed", last)
        if done.returncode == 0: break
        assert done.returncode == -9, done.stderr
    assert start("killed", 0).stdout == calm.stdout
    submitted = [line.split()[2] for line in (tmp_path / "killed.service").read_text().splitlines()]
    assert submitted == ["0", "1", "2"]


def test_a_second_opener_is_refused_until_the_first_has_ended(tmp_path):
    code = "import sys; from qhn.hardware.journal import Journal; journal = Journal(sys.argv[1], {'run': 1}); print('open', flush=True); sys.stdin.read()"
    first = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "open\n"
        with pytest.raises(RuntimeError, match=f"is in use by process {first.pid} on .*, since 2"): Journal(tmp_path, {"run": 1})
        assert read_journal(tmp_path)[1:] == ({"run": 1}, [])   # looking is allowed
    finally:
        first.kill()
        first.communicate()
    with Journal(tmp_path, {"run": 1}), pytest.raises(RuntimeError, match="is in use"): Journal(tmp_path)
    with pytest.raises(ValueError, match="settings differ"): Journal(tmp_path, {"run": 2})
    Journal(tmp_path).close()   # a refusal keeps no lock


def test_a_closed_journal_writes_nothing(tmp_path):
    with Journal(tmp_path, RUN) as journal: pass
    with pytest.raises(RuntimeError, match=r"is closed: open it again with Journal\(folder\)"): run_job(Device(), journal, Budget(), payload(0))


def test_another_run_is_refused(tmp_path):
    program(Device(), tmp_path, 1)
    with pytest.raises(ValueError, match=r"circuit was 'product', got 'staircase', seed was None, got 3, shots was 7, got None"):
        Journal(tmp_path, {"circuit": "staircase", "seed": 3})
    with Journal(tmp_path, RUN) as journal:
        with pytest.raises(ValueError, match="payload of job 0 differs from the one in the journal.*start a new one in a new folder"):
            run_job(Device(), journal, Budget(), payload(1))
        assert len(run_job(None, journal, Budget(), payload(0))) == 2


def test_settings_survive_as_json_gives_them_back(tmp_path):
    for _ in range(2):
        with Journal(tmp_path / "new" / "folder", {"sizes": (2, 3), "rate": 0.1, "name": None}) as journal:
            assert journal.settings == {"sizes": [2, 3], "rate": 0.1, "name": None}


def test_runs_have_names_of_their_own(tmp_path):
    names = set()
    for k in range(20):
        with Journal(tmp_path / str(k), RUN) as journal: names.add(journal.run)
    assert len(names) == 20 and all(len(name) == 8 for name in names)


@pytest.mark.parametrize("line", [b"{", b"{}", b"5", b'{"tag": "t", "colour": 1}', b"\xff", b"\0\0"])
def test_a_damaged_line_is_named(line, tmp_path):
    program(Device(), tmp_path, 1)
    file = tmp_path / "journal.jsonl"
    lines = file.read_bytes().split(b"\n")
    for number in (1, 3):
        file.write_bytes(b"\n".join([*lines[:number - 1], line, *lines[number:]]))
        for read in (read_journal, lambda folder: Journal(folder, RUN)):
            with pytest.raises(ValueError, match=f"journal.jsonl, line {number}: not a line of a journal. Restore"): read(tmp_path)
    file.write_bytes(b"\n".join(lines))
    Journal(tmp_path).close()   # a refusal keeps no lock


@pytest.mark.parametrize("given, error, text", [
    (["a"], TypeError, "settings must be a dictionary, name to value, got list"),
    ({"a": object()}, TypeError, "settings must be plain data that JSON can hold"),
    (None, ValueError, "holds no journal: give the folder that the run was started with")])
def test_bad_settings(given, error, text, tmp_path):
    with pytest.raises(error, match=text): Journal(tmp_path / "run", given)


@pytest.mark.parametrize("name, value", [("timeout", -1), ("max_queue", math.nan), ("poll", "soon"), ("poll", None)])
def test_bad_patience(name, value, tmp_path):
    device = Device()
    with Journal(tmp_path, RUN) as journal, pytest.raises(ValueError, match=f"{name} must be a number of seconds, 0 or more, got {name}={value!r}"):
        run_job(device, journal, Budget(), payload(0), **{name: value})
    assert not device.jobs and not read_journal(tmp_path)[2]


@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_bad_retries(value, tmp_path):
    with Journal(tmp_path, RUN) as journal, pytest.raises(ValueError, match=f"retries must be a whole number, 0 or more, got retries={value}"):
        run_job(Device(), journal, Budget(), payload(0), retries=value)


@pytest.mark.parametrize("value", [-1, math.nan, "ten", b"1"])
def test_bad_seconds(value, tmp_path):
    with pytest.raises(ValueError, match=f"max_qpu_seconds must be a number of seconds, 0 or more, got max_qpu_seconds={value!r}"): Budget(value)
    device = Device(seconds=value, delay=0)
    with Journal(tmp_path, RUN) as journal, pytest.raises(ValueError, match="estimate must be a number of seconds"):
        run_job(device, journal, Budget(), payload(0))
    assert not device.jobs
    device.estimate = lambda payload: 1.0
    with Journal(tmp_path, RUN) as journal, pytest.raises(ValueError, match="^seconds must be a number of seconds"):
        run_job(device, journal, Budget(), payload(0))


def test_angles_are_settled_when_a_job_is_first_asked_for(tmp_path):
    device = Device(delay=0)
    bits = program(device, tmp_path, 2, digits=0.)
    np.testing.assert_array_equal(program(None, tmp_path, 2, digits=1e-5), bits)
    for other in (1e-3, np.nan):
        with pytest.raises(ValueError, match="payload of job 0 differs from the one in the journal"): program(None, tmp_path, 2, digits=other)
    with Journal(tmp_path) as journal:
        assert journal.settled(np.zeros(5)).shape == (5,)        # another shape: the payload will be refused
        np.testing.assert_array_equal(journal.settled(payload(0)["angles"] - 1e-5), payload(0)["angles"])
    (tmp_path / "asked-0.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="asked-0.npz cannot be read: .*; delete it and run the same command again"): program(None, tmp_path, 2, digits=0.)
    (tmp_path / "asked-0.npz").unlink()
    np.testing.assert_array_equal(program(None, tmp_path, 2, digits=0.), bits)


def test_a_job_that_the_budget_refused_may_be_replaced(tmp_path):
    device = Device(delay=0, seconds=4.0)
    with Journal(tmp_path, RUN) as journal:
        asked = [journal.settled(np.full(3, 0.5))]
        with pytest.raises(BudgetSpent): run_job(device, journal, Budget(5, reserved=2), payload(0))
        asked.append(journal.settled(np.zeros(2)))
        np.testing.assert_array_equal(run_job(device, journal, Budget(5), payload(1)), true_bits(payload(1)))
        assert [attempt.state for attempt in journal.attempts] == ["withdrawn", "done"] and journal.used == 4
        assert len({attempt.tag for attempt in journal.attempts}) == 2
    assert [len(angles) for angles in asked] == [3, 2] and len(device.jobs) == 1


def test_waiting_is_reported_whenever_something_changes(tmp_path):
    device, told = moody(Status("queued", detail="2 ahead"), Status("queued", detail="2 ahead"), Status("queued", detail="1 ahead"), Status("running"), Status("done", 3.0)), []
    with Journal(tmp_path, RUN) as journal: run_job(device, journal, Budget(60), payload(0), sleep=lambda seconds: None, report=told.append)
    left = "0.0 of 60 QPU seconds used, 58.0 left"
    assert told == [f"job 0 (job-0) is {how}. {left}" for how in ("queued (2 ahead)", "queued (1 ahead)", "running")]


def test_a_budget_without_limit_says_so(tmp_path):
    program(Device(), tmp_path, 2)
    with Journal(tmp_path) as journal:
        assert Budget().report(journal) == "4.0 QPU seconds used, no limit" and Budget().left(journal) == math.inf
        assert Budget(3).report(journal) == "4.0 of 3 QPU seconds used, 0.0 left"
        assert Budget(9, reserved=2).report(journal) == "4.0 of 9 QPU seconds used, 3.0 left and 2.0 kept for the end"


plain = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)


def kinds(value):
    "The value with its types, as 1, 1.0 and True are equal in Python."
    if isinstance(value, dict): return {key: kinds(inner) for key, inner in value.items()}
    return [kinds(inner) for inner in value] if isinstance(value, list) else (type(value), repr(value))


@given(plain, plain)
def test_fingerprints_are_equal_for_equal_data_alone(one, other):
    assert fingerprint(copy.deepcopy(one)) == fingerprint(one)
    assert (fingerprint(one) == fingerprint(other)) == (kinds(one) == kinds(other))


def test_fingerprints_see_what_an_array_holds():
    base = np.arange(6.0).reshape(2, 3)
    others = [base.T, base.reshape(3, 2), base.astype(np.float32), base + 1e-12, base.tolist(), base.ravel()]
    prints = [fingerprint({"angles": a}) for a in [base, *others]]
    assert len(set(prints)) == len(prints)
    assert fingerprint(np.asfortranarray(base)) == fingerprint(base) == fingerprint(base.copy()[::1])
    import jax.numpy as jnp
    assert fingerprint(jnp.asarray(base)) == fingerprint(base)


def test_a_fingerprint_is_the_same_in_another_process():
    given = "{'b': [1, 2.5, None, 'é'], 'a': np.arange(4), 'c': b'xyz', 'd': (np.float32(1), np.int64(2))}"
    code = f"import numpy as np; from qhn.disk import fingerprint; print(fingerprint({given}))"
    for seed in "01":
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
        assert done.stdout.strip() == fingerprint(eval(given, {"np": np}))


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), lambda: 0])
def test_only_plain_data_has_a_fingerprint(value):
    with pytest.raises(TypeError, match="payload must be plain data .*describe it by a text"): fingerprint({"circuit": [value]})


def test_the_module_needs_neither_jax_nor_qiskit():
    code = "import sys, qhn.hardware.jobs; sys.exit(bool({'jax', 'qiskit', 'pennylane'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- folders that cannot be synced, as on some network drives and on Windows ------------------------------------------

@pytest.fixture(params=["open", "sync"])
def refusing(request, monkeypatch):
    "Makes every folder answer a wish to sync it with the error of a given number, when it is opened or when it is synced."
    real = os.open
    def opened(path, flags, *rest):
        if request.param == "open" and os.path.isdir(path): refuse()
        return real(path, flags, *rest)
    def synced(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode): refuse()
    def refuse(): raise OSError(number, os.strerror(number))
    def with_error(given):
        nonlocal number
        number = given
        monkeypatch.setattr(os, "open", opened); monkeypatch.setattr(os, "fsync", synced)
    number = None
    return with_error


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR, errno.ENOSYS, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_still_gets_whole_files(number, refusing, tmp_path):
    refusing(number)
    for text in ("first", "second"):
        with whole_file(tmp_path / "it.txt") as part: part.write_text(text)
        assert [path.name for path in tmp_path.iterdir()] == ["it.txt"] and (tmp_path / "it.txt").read_text() == text
    device = Device()
    np.testing.assert_array_equal(program(device, tmp_path / "run", 2), program(None, tmp_path / "run", 2))
    assert len(device.jobs) == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_is_not_taken_for_one_that_cannot(number, refusing, tmp_path):
    refusing(number)
    with pytest.raises(OSError, match=os.strerror(number)), whole_file(tmp_path / "it.txt") as part: part.write_text("text")
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_cannot_be_synced_is_still_renamed_whole(tmp_path, monkeypatch):
    def refuse(descriptor): raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    monkeypatch.setattr(os, "fsync", refuse)
    with whole_file(tmp_path / "it.txt") as part: part.write_text("text")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["text"]
    with pytest.raises(OSError, match=r"the file system of .*journal.jsonl cannot sync a file to disk \(Invalid argument\).*; choose a folder on a local disk"): Journal(tmp_path / "run", RUN)    # its lines are what a payment hangs on


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "it.txt").write_text("before")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "it.txt") as part:
        part.write_text("half")
        1 / 0
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


# --- data of the run --------------------------------------------------------------------------------------------------

def test_data_are_the_runs_own(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(5, 2)), np.array([0, 1, 1, 0, 1])
    with Journal(tmp_path, RUN) as journal:
        for name, values in (("x", x), ("y", y)): journal.keep(name, values)
    other = x.copy()
    other[3, 1] += 0.01
    with Journal(tmp_path, RUN) as journal:
        journal.keep("x", x.astype(np.float32))     # as another machine might compute it
        journal.keep("y", y.astype(np.int8))
        with pytest.raises(ValueError, match=rf"^x differs from that of the run in .*, in 1 of 10 numbers: x\[3, 1\] was {x[3, 1]}, got {other[3, 1]}. Go on with the x"): journal.keep("x", other)
        with pytest.raises(ValueError, match=r"in 5 of 5 numbers: y\[0\] was 0, got 1.*or start a new one in a new folder"): journal.keep("y", 1 - y)
        with pytest.raises(ValueError, match=r"shape was \(5, 2\), got \(4, 2\)"): journal.keep("x", x[:4])
        with pytest.raises(ValueError, match="in 1 of 10 numbers"): journal.keep("x", np.where(x == x[2, 0], np.nan, x))
