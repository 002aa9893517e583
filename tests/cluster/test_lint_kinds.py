"""Each rule for other kinds and for `ray up` finds a file that breaks it; what is no cluster file is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import deployment, found, put

from cluster import kube_core, kube_ray, launchers
from cluster.lint import lint

Break = Callable[[dict[str, Any]], Any]


OF_KINDS: dict[str, tuple[str, str, Callable[[], dict[str, Any]], Break]] = {
    "DeleteWorkers with autoscaling": (
        "delete-workers", "spec.deletionStrategy", lambda: kube_ray.ray_job(deployment()),
        lambda job: put(job, "spec", "deletionStrategy", to={
            "onSuccess": {"policy": "DeleteWorkers"}, "onFailure": {"policy": "DeleteSelf"}}),
    ),
    "a rule that deletes workers with autoscaling": (
        "delete-workers", "spec.jobTemplate.deletionStrategy", lambda: kube_ray.ray_cron_job(deployment()),
        lambda job: put(job, "spec", "jobTemplate", "deletionStrategy", to={
            "deletionRules": [{"policy": "DeleteWorkers", "condition": {"jobStatus": "FAILED"}}]}),
    ),
    "a cluster that stays": (
        "left-over", "spec.shutdownAfterJobFinishes", lambda: kube_ray.ray_job(deployment()),
        lambda job: put(job, "spec", "shutdownAfterJobFinishes", to=False),
    ),
    "a cluster that is gone with its logs": (
        "left-over", "spec.ttlSecondsAfterFinished", lambda: kube_ray.ray_job(deployment()),
        lambda job: job["spec"].pop("ttlSecondsAfterFinished"),
    ),
    "attempts that begin at zero": (
        "nothing-kept", "spec.backoffLimit", lambda: kube_ray.ray_job(deployment()),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"].pop(1),
    ),
    "ticks that overlap": (
        "overlap", "spec.concurrencyPolicy", lambda: kube_core.cron_job(deployment()),
        lambda clock: clock["spec"].pop("concurrencyPolicy"),
    ),
    "ticks that end each other": (
        "overlap", "spec.concurrencyPolicy", lambda: kube_core.cron_job(deployment()),
        lambda clock: put(clock, "spec", "concurrencyPolicy", to="Replace"),
    ),
    "a clock that stops for good": (
        "overlap", "spec.startingDeadlineSeconds", lambda: kube_core.cron_job(deployment()),
        lambda clock: clock["spec"].pop("startingDeadlineSeconds"),
    ),
    "a clock of an unknown zone": (
        "overlap", "spec.timeZone", lambda: kube_core.cron_job(deployment()),
        lambda clock: clock["spec"].pop("timeZone"),
    ),
    "a password in a command": (
        "secret", "spec.jobTemplate.spec.template.spec.containers[0].command[3]",
        lambda: kube_core.cron_job(deployment()),
        lambda clock: put(
            clock["spec"]["jobTemplate"]["spec"]["template"]["spec"], "containers", 0, "command", 3,
            to="http://me:hunter2@mlflow:5000",
        ),
    ),
    "a secret in a ConfigMap": (
        "secret", "data.db_password", lambda: kube_core.run_file(deployment()),
        lambda file: put(file, "data", "db_password", to="hunter2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_KINDS)
def test_a_file_with(name: str) -> None:
    rule, path, make, breaks = OF_KINDS[name]
    document = make()
    breaks(document)

    (finding,) = found(document)

    assert (finding.rule, finding.path.partition(" ")[2]) == (rule, path)
    assert finding.way_out
    assert "hunter2" not in finding.fact + finding.way_out


def test_a_secret_that_stands_in_a_file_is_named_without_its_content() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "hunter2"}}

    (finding,) = found(secret)

    assert (finding.rule, finding.path) == ("secret", "Secret/s data")
    assert "hunter2" not in str(finding)


OF_LAUNCHERS: dict[str, tuple[str, str, Break]] = {
    "idle machines that stay": (
        "idle", "idle_timeout_minutes", lambda file: file.pop("idle_timeout_minutes"),
    ),
    "more at the least than at the most": (
        "replicas", "available_node_types.workers.min_workers",
        lambda file: put(file, "available_node_types", "workers", "min_workers", to=5),
    ),
    "machines that are never begun": ("replicas", "max_workers", lambda file: put(file, "max_workers", to=5)),
    "a head that works": (
        "head-works", "head_start_ray_commands",
        lambda file: put(file, "head_start_ray_commands", 1, to="ray start --head"),
    ),
    "a head on spot": (
        "head-on-spot", "available_node_types.head.node_config",
        lambda file: put(file, "available_node_types", "head", "node_config", "InstanceMarketOptions",
                         to={"MarketType": "spot"}),
    ),
    "spot machines that would be stopped": (
        "head-on-spot", "provider.cache_stopped_nodes",
        lambda file: file["provider"].pop("cache_stopped_nodes"),
    ),
    "an image that moves": (
        "image", "docker.image", lambda file: put(file, "docker", "image", to="perceiver:latest"),
    ),
    "a secret in an option of docker": (
        "secret", "docker.run_options[7]",
        lambda file: file["docker"]["run_options"].append("-e AWS_SECRET_ACCESS_KEY=hunter2"),
    ),
    "a secret in a command": (
        "secret", "setup_commands[0]", lambda file: file["setup_commands"].append("export API_KEY=hunter2"),
    ),
    "no token": (
        "token", "docker.run_options",
        lambda file: file["docker"]["run_options"].remove("-e RAY_AUTH_MODE=token"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_LAUNCHERS)
def test_a_launcher_file_with(name: str) -> None:
    rule, path, breaks = OF_LAUNCHERS[name]
    file = launchers.aws(deployment())
    breaks(file)

    (finding,) = found(file)

    assert (finding.rule, finding.path) == (rule, f"ray up/birds {path}")
    assert "hunter2" not in str(finding)


def test_googles_word_for_spot_is_known_too() -> None:
    file = launchers.gcp(deployment())
    file["available_node_types"]["head"]["node_config"]["scheduling"] = [{"provisioningModel": "SPOT"}]

    assert [one.rule for one in found(file)] == ["head-on-spot"]


@pytest.mark.parametrize("document", ["words", ["a", "list"], {"no": "kind"}])
def test_what_is_no_cluster_file_is_said_to_be_none(document: Any) -> None:
    (finding,) = lint([("file.yaml", document)])

    assert finding.rule == "yaml"
    assert "Kubernetes object" in finding.way_out


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob", "RayCronJob", "CronJob", "PersistentVolumeClaim"])
@pytest.mark.parametrize("spec", [None, {}, [], "x", {"workerGroupSpecs": [None, 3]}, {"headGroupSpec": []}])
def test_a_file_that_is_hardly_begun_breaks_nothing(kind: str, spec: Any) -> None:
    findings = lint([("file.yaml", {"kind": kind, "metadata": None, "spec": spec})])

    assert all(one.file == "file.yaml" for one in findings)


def test_kuberays_own_kinds_that_are_not_ours_are_looked_at_too(tmp_path: Path) -> None:
    service = yaml.safe_load("""
kind: RayService
metadata: {name: served}
spec:
  rayClusterConfig:
    authOptions: {mode: token}
    headGroupSpec: {template: {spec: {containers: [{image: "a:1", securityContext: {runAsNonRoot: true}}]}}}
""")

    head = "RayService/served spec.rayClusterConfig.headGroupSpec.template.spec"
    assert [(one.rule, one.path) for one in found(service)] == [
        (
            "grace",
            f"{head}.terminationGracePeriodSeconds",
        ),
        (
            "memory",
            f"{head}.containers[0].resources",
        ),
    ]
