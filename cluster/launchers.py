"""Files for `ray up` on Amazon and Google: head on demand, workers on demand and spot, one image for all."""

from typing import Any

from cluster.deployment import Deployment

Launcher = dict[str, Any]

HOME = "/home/ray"
"""Of the image's user, see cluster/Dockerfile."""
RAY_START = "ulimit -n 65536; ray start --metrics-export-port=8080"
CONFIG = "--autoscaling-config=~/ray_bootstrap_config.yaml"
NO_WORK = "--num-cpus=0 --num-gpus=0"


def aws(made: Deployment) -> Launcher:
    """The cluster on EC2."""
    lent = made.aws
    worker_type = lent.worker or ("g6.2xlarge" if made.gpus else "m6i.4xlarge")
    disk = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 150, "VolumeType": "gp3"}}]
    image = {"ImageId": lent.image} if lent.image else {}
    profile = {"IamInstanceProfile": {"Name": lent.profile}} if lent.profile else {}
    worker = {"InstanceType": worker_type, **image, "BlockDeviceMappings": disk, **profile}
    return {
        **_common(made),
        # A spot machine cannot be stopped and kept, only ended.
        "provider": {"type": "aws", "region": lent.region, "cache_stopped_nodes": False},
        "auth": {"ssh_user": "ubuntu"},
        "available_node_types": _types(
            made,
            head={"InstanceType": lent.head, **image, "BlockDeviceMappings": disk},
            worker=worker,
            spot={**worker, "InstanceMarketOptions": {"MarketType": "spot"}},
        ),
    }


def gcp(made: Deployment) -> Launcher:
    """The cluster on Compute Engine."""
    lent = made.gcp
    worker_type = lent.worker or ("g2-standard-8" if made.gpus else "n2-standard-16")
    # Google cannot move a machine with GPUs to another host: it ends it.
    fixed = {"onHostMaintenance": "TERMINATE"} if made.gpus else {}
    worker: Launcher = {"machineType": worker_type, "disks": [_disk(lent.image)]}
    return {
        **_common(made),
        "provider": {
            "type": "gcp", "region": lent.region, "availability_zone": lent.zone, "project_id": lent.project,
        },
        "auth": {"ssh_user": "ubuntu"},
        "available_node_types": _types(
            made,
            head={"machineType": lent.head, "disks": [_disk("")]},
            worker={**worker, "scheduling": [fixed]} if fixed else worker,
            spot={**worker, "scheduling": [{"preemptible": True, **fixed}]},
        ),
        # The head asks Google for machines with this; the version is the one of Ray's own defaults.
        "head_setup_commands": ["python -m pip install --user google-api-python-client==1.7.8"],
    }  # fmt: skip


def _disk(image: str) -> Launcher:
    source = image or "projects/deeplearning-platform-release/global/images/family/common-cpu"
    return {
        "boot": True,
        "autoDelete": True,
        "type": "PERSISTENT",
        "initializeParams": {"diskSizeGb": 150, "sourceImage": source},
    }


def _types(made: Deployment, head: Launcher, worker: Launcher, spot: Launcher) -> Launcher:
    amount = {"CPU": made.ranks_per_node * made.cpus}
    if made.gpus:
        amount["GPU"] = made.ranks_per_node * made.gpus
    types: Launcher = {"head": {"resources": {"CPU": 0}, "node_config": head}}
    for name, nodes, config in (
        ("workers", made.steady_nodes, worker),
        ("spot", made.spot_nodes_most, spot),
    ):
        if nodes:
            types[name] = {
                "resources": dict(amount), "min_workers": 0, "max_workers": nodes, "node_config": config,
            }  # fmt: skip
    return types


def _common(made: Deployment) -> Launcher:
    return {
        "cluster_name": made.name,
        "max_workers": made.steady_nodes + made.spot_nodes_most,
        "idle_timeout_minutes": made.idle_seconds / 60,
        "docker": _docker(made),
        "head_node_type": "head",
        # The token of whoever runs `ray up`; `ray get-auth-token --generate` makes one.
        "file_mounts": {f"{HOME}/.ray/auth_token": "~/.ray/auth_token"},
        "initialization_commands": _mount(made),
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [
            "ray stop",
            # The dashboard is reached through `ray dashboard`, an SSH tunnel.
            f"{RAY_START} --head --port=6379 {NO_WORK} --dashboard-host=127.0.0.1 {CONFIG}",
        ],
        "worker_start_ray_commands": [
            "ray stop",
            f"{RAY_START} --address=$RAY_HEAD_IP:6379",
        ],
    }


def _docker(made: Deployment) -> Launcher:
    variables = {**made.environment, "RAY_AUTH_MODE": "token"}
    return {
        "image": made.image,
        "container_name": "perceiver",
        "pull_before_run": True,
        "run_options": [
            "--ulimit nofile=65536:65536",
            f"-v {made.volume.path}:{made.volume.path}",
            *(f"-e {name}={value}" for name, value in variables.items()),
        ],
    }


def _mount(made: Deployment) -> list[str]:
    """The workspace's file system on every machine, before its container starts."""
    path = made.volume.path
    return [
        "command -v mount.nfs4 || (sudo apt-get update && sudo apt-get install -y nfs-common)",
        f"sudo mkdir -p {path}",
        f"mountpoint -q {path} || sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600 {made.volume.nfs} {path}",
        f"sudo chown 1000:1000 {path}",
    ]
