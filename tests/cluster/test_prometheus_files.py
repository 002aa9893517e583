"""Prometheus takes the files, finds Ray's nodes by them, and alerts when it should and only then.

Debian's package is built without Kubernetes discovery, so promtool sees that job with fixed targets.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRAPE, RULES = ROOT / "cluster" / "prometheus.yaml", ROOT / "cluster" / "prometheus_rules.yaml"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus"
)


def promtool(*words: str | Path, cwd: Path) -> None:
    done = subprocess.run(
        ["promtool", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@needs_promtool
def test_prometheus_takes_them(tmp_path: Path) -> None:
    config = yaml.safe_load(SCRAPE.read_text())
    for job in config["scrape_configs"]:
        if job.pop("kubernetes_sd_configs", None):
            job["static_configs"] = [{"targets": ["node:8080"]}]
    (tmp_path / SCRAPE.name).write_text(yaml.safe_dump(config))
    shutil.copy(RULES, tmp_path)

    promtool("check", "config", SCRAPE.name, cwd=tmp_path)


def test_pods_of_kuberay_are_found_by_its_label_and_the_port_of_the_manifests() -> None:
    from deployments import deployment

    from cluster import kube_ray

    (job,) = [
        one for one in yaml.safe_load(SCRAPE.read_text())["scrape_configs"] if "kubernetes_sd_configs" in one
    ]
    kept = {
        rule["source_labels"][0]: rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    spec = kube_ray.cluster_spec(deployment(), waiting=0)

    assert kept == {
        "__meta_kubernetes_pod_label_ray_io_cluster": ".+",
        "__meta_kubernetes_pod_container_port_name": "metrics",
    }
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        ports = {
            one["name"]: one["containerPort"] for one in group["template"]["spec"]["containers"][0]["ports"]
        }
        assert ports["metrics"] == 8080


def test_machines_are_found_by_the_file_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    (job,) = [one for one in yaml.safe_load(SCRAPE.read_text())["scrape_configs"] if "file_sd_configs" in one]

    assert job["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]


def test_every_metric_is_one_that_this_ray_has() -> None:
    import ray

    folder = Path(ray.__file__).parent / "dashboard"
    known = "".join(
        path.read_text()
        for path in (
            folder / "modules/reporter/reporter_agent.py",
            folder / "modules/metrics/dashboards/default_dashboard_panels.py",
        )
    )
    named = {
        metric
        for rule in rules()
        for metric in re.findall(r"\bray_\w+", rule["expr"])
        if metric != "ray_cluster"
    }

    assert len(named) >= 6
    for metric in named:
        assert f'"{metric.removeprefix("ray_")}"' in known or metric in known, metric


CASES = {
    "GpuIdle": ('ray_node_gpus_utilization{instance="a"}', "90+0x60", "1+0x60", "40m"),
    "NodeAway": ('up{job="ray-machines", instance="a"}', "1+0x60", "0+0x60", "10m"),
    "NodesPending": ('ray_cluster_pending_nodes{instance="a"}', "0+0x60", "2+0x60", "30m"),
    "MemoryAlmostFull": ('ray_node_mem_used{instance="a"}', "50+0x60", "95+0x60", "10m"),
    "WorkerEndedForMemory": (
        'ray_memory_manager_worker_eviction_total{instance="a"}',
        "1+0x60",
        "0+1x60",
        "10m",
    ),
    "DiskAlmostFull": ('ray_node_disk_free{instance="a"}', "50+0x60", "2+0x60", "10m"),
}


@needs_promtool
@pytest.mark.parametrize("name", CASES)
def test_an_alert_comes_when_it_should_and_not_before(name: str, tmp_path: Path) -> None:
    series, well, ill, at = CASES[name]
    shutil.copy(RULES, tmp_path)
    beside = [
        {"series": 'ray_node_mem_total{instance="a"}', "values": "100+0x60"},
        {"series": 'ray_node_disk_usage{instance="a"}', "values": "100+0x60"},
    ]
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values}, *beside],
            "promql_expr_test": [
                {"expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}}) or vector(0)',
                 "eval_time": at, "exp_samples": [{"labels": "{}", "value": fires}]},
            ],
        }
        for values, fires in ((well, 0), (ill, 1))
    ]  # fmt: skip
    case = {"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))

    promtool("test", "rules", "case.yaml", cwd=tmp_path)


def test_every_alert_has_a_case_and_says_what_it_means() -> None:
    assert {rule["alert"] for rule in rules()} == set(CASES)
    assert all(rule["annotations"]["summary"] for rule in rules())
