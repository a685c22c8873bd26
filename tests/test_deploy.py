"""The files of `deploy/` are what they say: they parse, agree with each other, and pass the linters at hand."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted((DEPLOY / "slurm").glob("*.sbatch"))
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if "values" not in path.name)


def manifest(name: str) -> Any:
    return yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_of_slurm_parses(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], capture_output=True, check=False).returncode == 0
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_a_task_of_an_array_runs_its_shard_and_the_last_job_merges_them(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    given = {"PYTHON": str(python), "MODEL": "planted", "OPTIONS": "--only=drugs --sample=8", "PATH": "/usr/bin:/bin"}
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SHARDS": "8"}
    said = [
        subprocess.run(["bash", script], env=given | array, capture_output=True, text=True, check=True).stdout.split()
        for script in (DEPLOY / "slurm" / "extract.sbatch", DEPLOY / "slurm" / "merge.sbatch")
    ]
    options = ["--json", "--only=drugs", "--sample=8"]
    assert said[0] == ["-m", "extract", "run", "--model", "planted", "--shard", "3/8", *options]
    assert said[1] == ["-m", "extract", "merge", "--model", "planted", "--shards", "8", *options]
    alone = given | {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1", "SHARDS": "8"}
    again = subprocess.run(
        ["bash", DEPLOY / "slurm" / "extract.sbatch"], env=alone, capture_output=True, text=True, check=True
    )
    assert again.stdout.split() == said[0]


def test_the_merge_waits_for_as_many_shards_as_the_job_runs() -> None:
    job, merge = manifest("extract-shards.yaml")["spec"], manifest("merge.yaml")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    shards = {each["name"]: each["value"] for each in container["env"]}["SHARDS"]
    command = merge["template"]["spec"]["containers"][0]["command"]
    assert str(job["completions"]) == shards == command[command.index("--shards") + 1]
    assert "$((JOB_COMPLETION_INDEX + 1))/$SHARDS" in container["args"][0]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_one_that_kubernetes_takes(path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(yaml.safe_load(path.read_text(encoding="utf-8")), "1.31", strict=True)


def test_pods_that_run_models_are_on_nodes_with_a_gpu_and_nothing_runs_as_root() -> None:
    pod = manifest("extract-shards.yaml")["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"vesalius/pool": "gpu"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    for name in ("extract-shards.yaml", "merge.yaml"):
        assert manifest(name)["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    values = manifest("dagster-values.yaml")
    assert values["postgresql"]["enabled"] is True
    launched = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert launched["podSpecConfig"]["nodeSelector"] == pod["nodeSelector"]


def test_the_chart_speaks_to_postgres_by_the_package_that_dagster_brings() -> None:
    pytest.importorskip("dagster_postgres")
    scheme = manifest("dagster-values.yaml")["postgresql"]["postgresqlScheme"]
    assert sqlalchemy.make_url(f"{scheme}://host/dagster").get_dialect().import_dbapi().__name__ == "psycopg2"


def test_the_pods_that_dagster_starts_are_ones_that_kubernetes_takes() -> None:
    pytest.importorskip("dagster_k8s")
    validate = pytest.importorskip("kubernetes_validate")
    from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
    from dagster_k8s.pipes import build_pod_body
    from kubernetes.client import ApiClient

    from deploy.pipes_k8s import IMAGE, POD

    launched = manifest("dagster-values.yaml")["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    config = {"container_config": launched["containerConfig"], "pod_spec_config": launched["podSpecConfig"]}
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(job_image=IMAGE, dagster_home="/opt/dagster"),
        args=["dagster", "api", "execute_run"],
        job_name="run",
        user_defined_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config),
    )
    pod = build_pod_body("extract", IMAGE, ["python"], {}, None, POD)
    for kind, version, body in (("Job", "batch/v1", job), ("Pod", "v1", pod)):
        written = ApiClient().sanitize_for_serialization(body)
        validate.validate(written | {"kind": kind, "apiVersion": version}, "1.31", strict=True)
    template = ApiClient().sanitize_for_serialization(job)["spec"]["template"]
    assert template["spec"]["nodeSelector"] == {"vesalius/pool": "gpu"}


def test_the_image_copies_what_is_there_and_does_not_run_as_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", lines, re.MULTILINE) for word in line.split()]
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied
    assert all((ROOT / name).exists() and f"!{name}" in allowed for name in copied)
    assert re.findall(r"^USER (.*)$", lines, re.MULTILINE) == ["10001"]
    if shutil.which("hadolint"):
        done = subprocess.run(["hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
