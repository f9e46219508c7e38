"""The workflows: they parse, take no action that can change under them, and publish nothing that was not tested."""
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.iterdir())
workflows = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def load(path): return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)    # the safe loader takes the key `on` for True
def steps(job): return job.get("steps", [])
def used(job): return [step["uses"] for step in [job, *steps(job)] if "uses" in step]


def reach(jobs, name):
    "A job and all that it waits for."
    needs = jobs[name].get("needs", [])
    return {name}.union(*(reach(jobs, other) for other in ([needs] if isinstance(needs, str) else needs)))


@workflows
def test_jobs_are_whole(path):
    flow = load(path)
    assert path.suffix == ".yaml" and {"name", "on", "permissions", "jobs"} <= flow.keys() and flow["permissions"] == {"contents": "read"}
    for name, job in flow["jobs"].items():
        assert reach(flow["jobs"], name) <= flow["jobs"].keys()
        assert "uses" in job or {"runs-on", "timeout-minutes", "steps"} <= job.keys(), name
        assert all(("uses" in step) != ("run" in step) for step in steps(job)), name


@workflows
def test_actions_are_pinned(path):
    "By the hash of a commit, with the release it belongs to beside it. A workflow of this repository is of the same commit."
    for action in (action for job in load(path)["jobs"].values() for action in used(job)):
        if action.startswith("./"): assert (ROOT / action).is_file()
        else: assert re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", action) and re.search(rf"uses: {re.escape(action)} # v\d+(\.\d+)+$", path.read_text(), re.M), action


def test_one_pin_for_each_action():
    pins = {action for path in FILES for job in load(path)["jobs"].values() for action in used(job)}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins})


@pytest.mark.parametrize("file, job", [("deploy", "deploy"), ("release", "publish")])
def test_only_what_was_tested_is_published(file, job):
    jobs = load(FOLDER / f"{file}.yaml")["jobs"]
    writers = [name for name, other in jobs.items() if "write" in other.get("permissions", {}).values()]
    assert writers == [job] and any("./.github/workflows/test.yaml" in used(jobs[name]) for name in reach(jobs, job))
    assert not any("secrets." in path.read_text() for path in FILES)


def test_a_release_is_tagged_with_its_version():
    build = load(FOLDER / "release.yaml")["jobs"]["build"]
    assert any("${GITHUB_REF_NAME#v}" in step.get("run", "") and "settings.ini" in step["run"] for step in steps(build))


def test_what_the_tests_run_on():
    flow = load(FOLDER / "test.yaml")
    assert {"pull_request", "workflow_call"} <= flow["on"].keys()
    assert {"3.12", "3.13", "3.14"} <= set(flow["jobs"]["pytest"]["strategy"]["matrix"]["python"])
    systems = flow["jobs"]["systems"]
    assert {name.partition("-")[0] for name in systems["strategy"]["matrix"]["system"]} == {"ubuntu", "macos", "windows"}
    runs = [step.get("run", "") for step in steps(systems)]
    assert "python -m pip install ." in runs and 'python -c "import qhn"' in runs and "qhn compare --steps 50 --seeds 2" in runs


def test_site_is_rendered_by_one_quarto():
    site = steps(load(FOLDER / "test.yaml")["jobs"]["site"])
    quarto = next(step for step in site if step.get("uses", "").startswith("quarto-dev/"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", quarto["with"]["version"])
    stage = next(step for step in site if "nbdev_proc_nbs" in step.get("run", ""))
    runs = [step.get("run", "") for step in site]
    assert runs.index("python .ci/site_pages.py _proc/_docs") == runs.index("quarto render _proc") + 1
    assert stage["env"]["PYTHONPATH"] == ".ci" and "PYTHONPATH=.ci" in (ROOT / ".ci" / "run").read_text()


def test_newest_versions_every_week():
    flow = load(FOLDER / "weekly.yaml")
    assert re.fullmatch(r"\d+ \d+ \* \* \d", flow["on"]["schedule"][0]["cron"])
    assert [name for name, job in flow["jobs"].items() if job.get("continue-on-error") == "true"] == ["nbdev-3"]


def test_lowest_and_newest_versions_every_week():
    bounds, audit = (load(FOLDER / "weekly.yaml")["jobs"][name] for name in ("bounds", "audit"))
    held = {row["versions"]: row["python"] for row in bounds["strategy"]["matrix"]["include"]}
    tested = load(FOLDER / "test.yaml")["jobs"]["pytest"]["strategy"]["matrix"]["python"]
    assert held == {"lowest": tested[0], "newest": tested[-1]} and all((ROOT / "tests" / f"constraints-{name}.txt").is_file() for name in held)
    install, run = (step["run"] for step in steps(bounds)[2:])
    assert "-c tests/constraints-${{ matrix.versions }}.txt" in install and all((ROOT / path).exists() for path in run.split()[1:])
    assert any("pip-audit" in step.get("run", "") for step in steps(audit))
