"""Each rule for Ray clusters finds a file that breaks it, names place and way out, and finds nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
from deployments import RAY, deployment, found, put

from cluster import kube_core, kube_ray

Break = Callable[[dict[str, Any]], Any]


def pod(cluster: dict[str, Any]) -> dict[str, Any]:
    return cluster["workerGroupSpecs"][0]["template"]["spec"]


def container(cluster: dict[str, Any], group: int = 0) -> dict[str, Any]:
    return cluster["workerGroupSpecs"][group]["template"]["spec"]["containers"][0]


def variable(node: dict[str, Any], name: str, value: str) -> None:
    node["env"] = [one for one in node["env"] if one["name"] != name] + [{"name": name, "value": value}]


IN_CLUSTER: dict[str, tuple[str, str, Break]] = {
    "a grace period that ends with the drain": (
        "grace", "spec.workerGroupSpecs[0].template.spec.terminationGracePeriodSeconds",
        lambda spec: put(pod(spec), "terminationGracePeriodSeconds", to=90),
    ),
    "no grace period, and Ray's default": (
        "grace", "spec.headGroupSpec.template.spec.terminationGracePeriodSeconds",
        lambda spec: (
            spec["headGroupSpec"]["template"]["spec"].pop("terminationGracePeriodSeconds"),
            spec["headGroupSpec"]["template"]["spec"]["containers"][0].pop("env"),
        ),
    ),
    "no drain at all": (
        "grace", "spec.workerGroupSpecs[1].template.spec.terminationGracePeriodSeconds",
        lambda spec: variable(container(spec, 1), "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0"),
    ),
    "GPUs that are only requested": (
        "gpu-limit", "spec.workerGroupSpecs[0].template.spec.containers[0].resources",
        lambda spec: container(spec)["resources"]["limits"].pop("nvidia.com/gpu"),
    ),
    "more memory allowed than requested": (
        "memory", "spec.workerGroupSpecs[0].template.spec.containers[0].resources",
        lambda spec: put(container(spec), "resources", "limits", "memory", to="17Gi"),
    ),
    "no limit of memory": (
        "memory", "spec.workerGroupSpecs[1].template.spec.containers[0].resources",
        lambda spec: container(spec, 1)["resources"]["limits"].pop("memory"),
    ),
    "a secret in a variable": (
        "secret", "spec.workerGroupSpecs[0].template.spec.containers[0].env[4].value",
        lambda spec: variable(container(spec), "AWS_SECRET_ACCESS_KEY", "hunter2"),
    ),
    "a password in a URI": (
        "secret", "spec.workerGroupSpecs[0].template.spec.containers[0].env[4].value",
        lambda spec: variable(container(spec), "MLFLOW_TRACKING_URI", "http://me:hunter2@mlflow:5000"),
    ),
    "root": (
        "root", "spec.workerGroupSpecs[0].template.spec.containers[0].securityContext",
        lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"].pop("securityContext"),
    ),
    "another Ray than the image's": (
        "ray-version", "spec.headGroupSpec.template.spec.containers[0].image",
        lambda spec: put(spec, "rayVersion", to="2.9.0"),
    ),
    "fewer nodes at the most than at the least": (
        "replicas", "spec.workerGroupSpecs[0].minReplicas",
        lambda spec: put(spec, "workerGroupSpecs", 0, "minReplicas", to=9),
    ),
    "more nodes wanted than allowed": (
        "replicas", "spec.workerGroupSpecs[0].replicas",
        lambda spec: put(spec, "workerGroupSpecs", 0, "replicas", to=9),
    ),
    "a head that works": (
        "head-works", "spec.headGroupSpec.rayStartParams",
        lambda spec: spec["headGroupSpec"]["rayStartParams"].pop("num-cpus"),
    ),
    "a head on spot": (
        "head-on-spot", "spec.headGroupSpec.template.spec",
        lambda spec: put(
            spec["headGroupSpec"]["template"]["spec"], "nodeSelector",
            to={"karpenter.sh/capacity-type": "spot"},
        ),
    ),
    "idle nodes that stay": (
        "idle", "spec.autoscalerOptions", lambda spec: spec.pop("autoscalerOptions"),
    ),
    "64 MiB of shared memory": (
        "shm", "spec.workerGroupSpecs[0].template.spec.containers[0].volumeMounts",
        lambda spec: container(spec)["volumeMounts"].pop(0),
    ),
    "shared memory that Ray's objects do not fit": (
        "shm", "spec.workerGroupSpecs[0].template.spec.containers[0].volumeMounts",
        lambda spec: put(pod(spec), "volumes", 0, "emptyDir", "sizeLimit", to="4915Mi"),
    ),
    "no token": ("token", "spec.authOptions", lambda spec: spec.pop("authOptions")),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_a_cluster_with(name: str) -> None:
    rule, path, breaks = IN_CLUSTER[name]
    cluster = kube_ray.ray_cluster(deployment())
    breaks(cluster["spec"])

    findings = found(cluster)

    assert {one.rule for one in findings} == {rule}
    assert findings[0].path == f"RayCluster/birds {path}"
    assert findings[0].way_out
    assert all("hunter2" not in one.fact + one.way_out for one in findings)


def test_every_node_of_a_moving_image_is_named() -> None:
    findings = found(kube_ray.ray_cluster(deployment(image="registry.example:5000/perceiver")))

    assert [one.rule for one in findings] == ["image"] * 3
    assert "has no tag" in findings[0].fact


def test_a_group_with_another_image_is_named() -> None:
    cluster = kube_ray.ray_cluster(deployment())
    container(cluster["spec"], 1)["image"] = f"registry.example/perceiver:2-ray{RAY}"

    (finding,) = found(cluster)

    assert (finding.rule, finding.path) == (
        "one-image", "RayCluster/birds spec.workerGroupSpecs[1].template.spec.containers[0].image",
    )  # fmt: skip


def test_rays_own_images_are_compared_by_their_tag() -> None:
    findings = found(kube_ray.ray_cluster(deployment(image="rayproject/ray:2.9.0-py311-gpu")))

    assert {one.rule for one in findings} == {"ray-version"}
    assert "has Ray 2.9.0, and rayVersion is" in findings[0].fact


def test_a_claim_of_one_machine_is_refused_for_several_nodes_and_allowed_for_one() -> None:
    claim = kube_core.volume(deployment())
    claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    alone = kube_ray.ray_cluster(deployment())
    alone["spec"]["workerGroupSpecs"] = []

    findings = found(kube_ray.ray_cluster(deployment()), claim)

    assert {one.rule for one in findings} == {"volume"}
    assert "9 nodes mount the claim perceiver, which is ReadWriteOnce" in findings[0].fact
    assert found(alone, claim) == []
