"""Kubernetes files say what the run asks for, and the definitions of their kinds let them pass."""

import shlex
from itertools import pairwise
from typing import Any

import pytest
from crds import faults
from deployments import deployment
from hypothesis import given
from hypothesis import strategies as st

from cluster import kube_core, kube_ray
from cluster.deployment import Deployment
from cluster.lint import lint
from cluster.quantities import amount

KUBERNETES = "1.34"
OF_RAY = [kube_ray.ray_cluster, kube_ray.ray_job, kube_ray.ray_cron_job]
OWN = [kube_core.volume, kube_core.run_file, kube_core.cron_job]

made = st.builds(
    deployment,
    fewest=st.integers(1, 3), most=st.integers(3, 40), spot=st.integers(0, 3), gpus=st.sampled_from([0, 1]),
    ranks_per_node=st.integers(1, 8), cpus=st.integers(1, 16), memory_gib=st.integers(1, 64),
    checkpoint_seconds=st.integers(1, 3600), idle_seconds=st.integers(1, 3600),
    env_secret=st.sampled_from(["", "env"]),
)  # fmt: skip


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def templates(spec: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize("make", OF_RAY)
def test_kuberay_takes_them_without_dropping_a_field(make: Any) -> None:
    assert faults(make(deployment())) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rayVersions": "2"}, "rayVersions"),
        ({"submissionMode": 3}, "3 is not of type 'string'"),
        ({"deletionStrategy": {"onSuccess": {"policy": "DeleteSelf"}}}, "BOTH onSuccess and onFailure"),
    ],
)
def test_the_check_against_the_definitions_finds_what_is_wrong(change: dict[str, Any], said: str) -> None:
    job = kube_ray.ray_job(deployment())
    job["spec"] |= change

    assert any(said in fault for fault in faults(job))


@pytest.mark.parametrize("make", OWN)
def test_kubernetes_takes_its_own_kinds(make: Any) -> None:
    import kubernetes_validate

    assert kubernetes_validate.validate(make(deployment()), KUBERNETES, strict=True) == KUBERNETES


def test_kubernetes_takes_the_pods_of_ray() -> None:
    import kubernetes_validate

    for number, spec in enumerate(templates(kube_ray.cluster_spec(deployment(), waiting=0))):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}

        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@given(made)
def test_whatever_is_asked_for_the_linter_has_nothing_to_say(asked: Deployment) -> None:
    files = [("file", make(asked)) for make in (*OF_RAY, *OWN)]

    assert lint(files) == []


@given(made)
def test_a_checkpoint_fits_into_the_drain_and_the_drain_into_the_grace_time(asked: Deployment) -> None:
    for spec in templates(kube_ray.cluster_spec(asked, waiting=0)):
        drain = int(environment(spec["containers"][0])["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        stop = int(environment(spec["containers"][0])["RAY_JOB_STOP_WAIT_TIME_S"])

        assert spec["terminationGracePeriodSeconds"] > drain > asked.checkpoint_seconds
        assert stop >= drain


@given(made)
def test_all_ranks_fit_the_nodes_and_spot_holds_no_more_than_it_may(asked: Deployment) -> None:
    groups = {
        group["groupName"]: group for group in kube_ray.cluster_spec(asked, waiting=0)["workerGroupSpecs"]
    }

    room = {name: group["maxReplicas"] * asked.ranks_per_node for name, group in groups.items()}
    assert sum(room.values()) >= asked.most
    assert room.get("spot", 0) < asked.spot + asked.ranks_per_node
    assert all(group["minReplicas"] == 0 for group in groups.values())
    for group in groups.values():
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert int(limits["cpu"]) >= asked.ranks_per_node * asked.cpus
        assert int(limits.get("nvidia.com/gpu", 0)) == asked.ranks_per_node * asked.gpus


@given(made)
def test_a_run_of_its_own_cluster_finds_the_nodes_that_it_cannot_do_without(asked: Deployment) -> None:
    groups = kube_ray.job_spec(asked)["rayClusterSpec"]["workerGroupSpecs"]

    assert sum(group["minReplicas"] for group in groups) * asked.ranks_per_node >= asked.fewest


def test_no_spot_asked_for_no_spot_group() -> None:
    (group,) = kube_ray.cluster_spec(deployment(spot=0), waiting=0)["workerGroupSpecs"]

    assert (group["groupName"], group["maxReplicas"]) == ("workers", 8)


def test_the_head_never_works_and_never_stands_where_it_may_be_taken_away() -> None:
    head = kube_ray.cluster_spec(deployment(), waiting=0)["headGroupSpec"]

    assert head["rayStartParams"]["num-cpus"] == "0"
    (term,) = head["template"]["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]}
    ]


def test_spot_nodes_are_chosen_and_tolerated_by_their_label() -> None:
    asked = deployment(spot_nodes="cloud.google.com/gke-spot=true")

    spec = templates(kube_ray.cluster_spec(asked, waiting=0))[-1]

    assert spec["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert {
        "key": "cloud.google.com/gke-spot",
        "operator": "Equal",
        "value": "true",
        "effect": "NoSchedule",
    } in (spec["tolerations"])


def test_secrets_are_referred_to_alone() -> None:
    spec = kube_ray.cluster_spec(deployment(), waiting=0)
    clock = kube_core.cron_job(deployment())["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][
        0
    ]

    assert spec["authOptions"] == {"mode": "token", "secretName": "perceiver-ray-token"}
    for container in (*(one["containers"][0] for one in templates(spec)), clock):
        assert container["envFrom"] == [{"secretRef": {"name": "perceiver-env"}}]
    assert {"name": "RAY_AUTH_TOKEN", "valueFrom": {
        "secretKeyRef": {"name": "perceiver-ray-token", "key": "auth_token"},
    }} in clock["env"]  # fmt: skip


def test_the_entrypoint_is_the_command_word_for_word() -> None:
    job = kube_ray.job_spec(deployment(options=("--workspace", "/mnt/perceiver/two words")))

    assert shlex.split(job["entrypoint"]) == [
        "perceiver", "run", "/etc/perceiver/run.toml", "--workspace", "/mnt/perceiver/two words",
        "--cluster.address", "auto",
    ]  # fmt: skip


def test_the_clock_submits_follows_and_never_overlaps() -> None:
    clock = kube_core.cron_job(deployment())["spec"]
    command = clock["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]

    assert command[:3] == ["perceiver", "submit", "/etc/perceiver/run.toml"]
    assert ("--cluster.address", "http://birds-head-svc:8265") in pairwise(command)
    assert command[-1] == "--follow"
    assert (clock["concurrencyPolicy"], clock["timeZone"], clock["schedule"]) == (
        "Forbid", "Europe/Berlin", "0 3 * * *",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("2", 2),
        ("16Gi", 2**34),
        ("1Ki", 1024),
        ("2Mi", 2**21),
        ("1e3", 1000),
        ("1.5G", 1.5e9),
        (3, 3),
    ],
)
def test_amounts_are_read_as_kubernetes_does(text: object, number: float) -> None:
    assert amount(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "much", "3 GiB", "1..2", None])
def test_what_is_no_amount_is_none(text: object) -> None:
    assert amount(text) is None
