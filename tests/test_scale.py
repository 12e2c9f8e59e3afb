"""docs/scale.md: its files parse, and its figures are those of the cost model."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from unspool.speed.scale import bytes_of

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "scale.md").read_text()
SMALL, LARGE = 12 * 26 * 2048**2, 12 * 45 * 5120**2


def test_the_batch_script_is_one() -> None:
    script = DOCS / "scale" / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    told = re.findall(r"^#SBATCH --([\w-]+)", script.read_text(), re.MULTILINE)
    assert {"nodes", "gpus-per-node", "time", "signal", "requeue"} <= set(told)


def test_the_job_is_one() -> None:
    """Pods find the first one by the name that the service and the job give it, and have time to save."""
    service, job = yaml.safe_load_all((DOCS / "scale" / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (line,) = pod["containers"][0]["args"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"] and f"{job['metadata']['name']}-0.{pod['subdomain']}:" in line
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(re.findall(r"--nnodes (\d+)", line)[0])
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == int(re.findall(r"--nproc-per-node (\d+)", line)[0])
    assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("processes", [1, 2, 8, 512])
def test_the_cost_model(processes: int) -> None:
    """All of it everywhere, or one part of it each; one process sends nothing."""
    whole, part = (bytes_of(1000, 600, processes, shard) for shard in (False, True))
    assert whole.kept == 4 * (1000 + 1000 + 2 * 400 + 600) == pytest.approx(processes * part.kept)
    assert whole.sent == part.sent == pytest.approx(8 * 1000 * (processes - 1) / processes)
    assert whole.peak - whole.kept == 4000 and part.peak - part.kept == pytest.approx(8000 + 4000 / processes)


def test_the_page_says_what_the_model_says() -> None:
    def row(begins: str) -> list[str]:
        return next(line for line in PAGE.splitlines() if line.startswith(f"| {begins}")).strip("| ").split(" | ")[1:]

    cases = [(p, n) for p in (SMALL, LARGE) for n in (8, 512)]
    assert row("DDP, Muon: GB at most") == [f"{bytes_of(p, p, n, False).peak / 1e9:.0f}" for p, n in cases]
    assert [float(cell) for cell in row("FSDP2: GB at most")] == pytest.approx(
        [bytes_of(p, p, n, True).peak / 1e9 for p, n in cases], rel=0.01
    )
    assert [float(cell.split(",")[0]) for cell in row("DDP: GB sent")] == pytest.approx(
        [bytes_of(p, p, n, False).sent / 1e9 for p, n in cases], rel=0.01
    )
    shapes = ((SMALL, 26, 2048), (LARGE, 45, 5120))
    work = [(6 * p * 32e3 + 12 * blocks * width * 32e3**2) / 1e12 for p, blocks, width in shapes]
    told = [float(cell.replace(" ", "")) for cell in row("TFLOP a step")]
    assert told == pytest.approx([work[0], work[0], work[1], work[1]], rel=0.002)
