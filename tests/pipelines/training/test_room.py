"""Room for workers on a cluster that adds nodes when they are asked for."""

import pytest

from cluster.settings import ClusterSettings
from pipelines.training.room import per_worker


def test_on_a_cluster_that_grows_training_asks_for_nodes_that_are_not_there() -> None:
    asked = ClusterSettings(workers=(4, 8), cpus_per_worker=3, gpus_per_worker=1, autoscales=True)

    assert per_worker(asked) == {"CPU": 3, "GPU": 1}


def test_a_cluster_that_grows_needs_the_cores_of_a_worker() -> None:
    with pytest.raises(ValueError, match=r"needs cluster\.cpus-per-worker"):
        ClusterSettings(autoscales=True)
