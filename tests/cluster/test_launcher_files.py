"""Files for `ray up` pass Ray's own check with Ray's own defaults, and ask for what the run needs."""

from importlib.resources import files
from typing import Any

import pytest
import yaml
from deployments import deployment

from cluster import launchers
from cluster.deployment import Aws, Gcp
from cluster.lint import lint

BOTH = [launchers.aws, launchers.gcp]


def checked(file: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` sees it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(file)
    validate_config(prepared)
    return prepared


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("changes", [{}, {"spot": 0}, {"spot": 8}, {"gpus": 0}, {"ranks_per_node": 4}])
def test_ray_takes_them(make: Any, changes: dict[str, Any]) -> None:
    asked = deployment(**changes)

    prepared = checked(make(asked))

    most = {name: node["max_workers"] for name, node in prepared["available_node_types"].items()}
    assert prepared["max_workers"] * asked.ranks_per_node >= 8
    assert sum(most[name] for name in ("workers", "spot") if name in most) == prepared["max_workers"]
    assert ("spot" in most) == (asked.spot > 0)
    assert ("workers" in most) == (asked.spot < 8)


def test_rays_check_refuses_what_is_wrong() -> None:
    from jsonschema import ValidationError

    file = launchers.aws(deployment())
    file["available_node_types"]["workers"]["resource"] = {}

    with pytest.raises(ValidationError, match="resource"):
        checked(file)


@pytest.mark.parametrize("make", BOTH)
def test_the_linter_has_nothing_to_say(make: Any) -> None:
    assert lint([("file", make(deployment()))]) == []


@pytest.mark.parametrize("make", BOTH)
def test_the_head_is_on_demand_and_never_works(make: Any) -> None:
    file = make(deployment())

    head = file["available_node_types"]["head"]
    assert head["resources"] == {"CPU": 0}
    assert "scheduling" not in head["node_config"]
    assert "InstanceMarketOptions" not in head["node_config"]
    assert "--num-cpus=0" in file["head_start_ray_commands"][1]


def test_spot_machines_are_asked_for_by_each_providers_word() -> None:
    amazon = launchers.aws(deployment())["available_node_types"]["spot"]["node_config"]
    google = launchers.gcp(deployment())["available_node_types"]["spot"]["node_config"]

    assert amazon["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert google["scheduling"] == [{"preemptible": True, "onHostMaintenance": "TERMINATE"}]


@pytest.mark.parametrize("make", BOTH)
def test_all_machines_mount_the_workspace_before_their_container_starts(make: Any) -> None:
    file = make(deployment())

    assert any("files.example:/export /mnt/perceiver" in line for line in file["initialization_commands"])
    assert "-v /mnt/perceiver:/mnt/perceiver" in file["docker"]["run_options"]


@pytest.mark.parametrize("make", BOTH)
def test_ray_asks_for_the_token_of_whoever_ran_ray_up(make: Any) -> None:
    file = make(deployment())

    assert "-e RAY_AUTH_MODE=token" in file["docker"]["run_options"]
    assert file["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}


def test_what_was_named_is_taken() -> None:
    asked = deployment(
        aws=Aws(worker="p5.48xlarge", profile="reads-buckets", image="ami-1"),
        gcp=Gcp(
            project="birds-1", zone="us-east1-c", worker="a3-highgpu-8g", image="projects/p/global/images/i"
        ),
    )

    amazon, google = launchers.aws(asked), launchers.gcp(asked)

    worker = amazon["available_node_types"]["workers"]["node_config"]
    assert (worker["InstanceType"], worker["ImageId"]) == ("p5.48xlarge", "ami-1")
    assert worker["IamInstanceProfile"] == {"Name": "reads-buckets"}
    assert google["provider"]["region"] == "us-east1"
    disk = google["available_node_types"]["workers"]["node_config"]["disks"][0]["initializeParams"]
    assert disk["sourceImage"] == "projects/p/global/images/i"


def test_googles_client_is_the_one_of_rays_own_defaults() -> None:
    own = yaml.safe_load((files("ray.autoscaler.gcp") / "defaults.yaml").read_text())

    (ours,) = launchers.gcp(deployment())["head_setup_commands"]

    assert own["head_setup_commands"][0].split()[-1] == ours.split()[-1]
