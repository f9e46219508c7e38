"""Nothing of the machines and accounts that made it is in what is published: sources, outputs and pictures of the notebooks, the built package.
What stands under a name like that of a secret comes into no file and no message of a run."""
import base64
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from qhn.hardware import sampler as qhn_sampler
from qhn.hardware.journal import Journal, read_journal, redacted, without_secrets
from qhn.hardware.run import Plan, sampler_options

ROOT = Path(__file__).parent.parent
SECRET = "s3cr3t-Zx81-marker"

LEAKS = {
    "a folder of a user": re.compile(r"(?<![\w.:])/(home|Users|root|work|export|mnt|scratch)/[A-Za-z0-9_.-]{2,}|[A-Z]:\\\\?Users\\"),
    "a temporary folder of a user": re.compile(r"/tmp/(pytest-of|\w+)-[a-z]{2,}\b|/var/folders/\w+"),
    "an e-mail address": re.compile(r"\b[\w.+-]+@(?!example\.|one1\.)[\w-]+(\.[\w-]+)*\.(com|org|net|edu|io|dev|de|uk|ca|ch|fr|eu)\b"),
    "a token": re.compile(r"\b(gh[pousr]_\w{30,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|xox[bp]-[\w-]{10,}|hf_\w{30,}|pypi-\w{50,}|sk-\w{40,}|eyJ[\w-]{20,}\.[\w-]{20,})"),
    "a private key": re.compile("BEGIN [A-Z ]*PRIVATE" + " KEY"),
    "a secret in the open": re.compile(r"""(?i)(token|passw(or)?d|api_?key|secret)["']?\s*[:=]\s*["'](?!x+["'])[A-Za-z0-9_/+-]{20,}["']"""),
    "an account's instance": re.compile(r"crn:v1:\w+"),
}


def leaks(text): return [(kind, found[0]) for kind, pattern in LEAKS.items() for found in pattern.finditer(text)]


@pytest.mark.parametrize("text", ["/home/ada/qhn/x.py", "/Users/ada/x", "/tmp/pytest-of-ada/x", "ada@uni-x.edu", "ghp_" + "a1" * 18, "BEGIN RSA PRIVATE" + " KEY",
                                  'token="' + "a" * 44 + '"', "crn:v1:bluemix", "/scratch/ada/a.py", '{"api_key": "' + "k9" * 15 + '"}', "eyJ" + "a" * 30 + "." + "b" * 30])
def test_a_leak_is_seen(text): assert leaks(f"see {text} there")


@pytest.mark.parametrize("text", ["https://github.com/home/page", 'save_account(token="...")', "name@v1", "someone@example.org", "/tmp/tmpab12/points.csv", "@dataclass", 'token="' + "x" * 44 + '"'])
def test_what_is_no_leak(text): assert not leaks(f"see {text} there")


def texts_of(value):
    "All texts within JSON; pictures as their bytes say."
    if isinstance(value, str): yield value
    if isinstance(value, list):
        if all(isinstance(part, str) for part in value): yield "".join(value)
        else: yield from (text for part in value for text in texts_of(part))
    if isinstance(value, dict):
        for kind, part in value.items():
            is_picture = kind.startswith("image/") and not kind.endswith("xml") and not isinstance(part, dict)
            if is_picture: yield base64.b64decode("".join(part)).decode("latin-1")
            else: yield from texts_of(part)


def tracked(*kinds):
    names = subprocess.run(["git", "ls-files", "-z", *kinds], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


@pytest.mark.parametrize("path", sorted((ROOT / "nbs").rglob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_tell_nothing_of_who_ran_them(path):
    "Sources, outputs and pictures."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"]):
        for text in texts_of([cell["source"], *cell.get("outputs", [])]):
            assert not leaks(text), (number, leaks(text)[:3])


def test_files_tell_nothing_of_who_wrote_them():
    own = Path(__file__)
    for path in tracked():
        if path == own or path.suffix == ".ipynb": continue
        found = leaks(path.read_bytes().decode("latin-1"))
        assert not found, (path.relative_to(ROOT), found[:3])


def test_the_built_package_tells_nothing(tmp_path):
    done = subprocess.run([sys.executable, "setup.py", "-q", "egg_info", "-e", tmp_path, "build", "-b", tmp_path / "b", "bdist_wheel", "-d", tmp_path], cwd=ROOT, capture_output=True, text=True)
    if done.returncode: pytest.skip("no wheel can be built here")
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        for name in wheel.namelist(): assert not leaks(wheel.read(name).decode("latin-1")), name


# Options of a run

OPTIONS = {"twirling": {"enable_gates": True}, "environment": {"api_token": SECRET, "tags": [{"password": [SECRET, {"a": SECRET}]}]}, "IBM_KEY": SECRET}


def test_secrets_are_redacted_wherever_they_stand():
    told = redacted(OPTIONS)
    assert SECRET not in json.dumps(told) and told["twirling"] == OPTIONS["twirling"] and json.dumps(OPTIONS).count(SECRET) == 4
    assert without_secrets(f"got {OPTIONS!r}", OPTIONS).count("***") == 4 and SECRET not in without_secrets(f"got {OPTIONS!r}", OPTIONS)
    assert redacted({"sort_keys": True, "keyboard": 1, "seed": 3}) == {"sort_keys": True, "keyboard": 1, "seed": 3}


def test_a_journal_keeps_no_secret_and_goes_on_all_the_same(tmp_path):
    for secret in (SECRET, "another"):
        with Journal(tmp_path / "run", {"options": {"token": secret}, "shots": 3}) as journal: assert journal.settings["options"]["token"] == "***"
    assert read_journal(tmp_path / "run")[1] == {"options": {"token": "***"}, "shots": 3}
    assert all(SECRET.encode() not in path.read_bytes() for path in (tmp_path / "run").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_files_of_a_run_are_their_owners_alone(tmp_path):
    import numpy as np
    from qhn.hardware.run import _write
    with Journal(tmp_path / "run", {"shots": 3}) as journal: journal.keep("x", np.ones(3))
    _write(tmp_path / "run" / "plan.json", {})
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert modes == {"journal.jsonl": 0o600, "x.npz": 0o600, "plan.json": 0o600} and (tmp_path / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("options", [{"token": SECRET}, {"environment": {"credentials": {"a": SECRET}}}, {"simulator": {"api-key": SECRET}}])
def test_a_plan_takes_no_secret(options):
    with pytest.raises(ValueError, match="options must hold no secret") as caught: Plan(options=options)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", [f'{{"token": "{SECRET}"', f'["password", "{SECRET}"]', f"token={SECRET}"])
def test_a_message_on_options_shows_no_secret(text):
    with pytest.raises(ValueError, match="must be a JSON object") as caught: sampler_options(text)
    assert SECRET not in str(caught.value)


def test_what_the_client_refuses_is_told_without_secrets():
    with pytest.raises(ValueError, match="options must be options of IBM's SamplerV2") as caught: qhn_sampler._ibm_sampler(None, {"token": SECRET, "twirling": {"password": SECRET}})
    assert SECRET not in str(caught.value) and "***" in str(caught.value)
