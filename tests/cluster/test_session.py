"""Sessions: what is refused before Ray starts, and what is left behind."""

import socket
from typing import Any

import pytest
from ports import free_port

from cluster.mistake import UserError
from cluster.session import check, session
from cluster.settings import ClusterSettings


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", ":6379"])
def test_an_address_that_is_none_is_refused_with_examples(address: str) -> None:
    with pytest.raises(UserError, match="host:port of a Ray head"):
        check(ClusterSettings(address=address))


def test_a_cluster_that_does_not_answer_is_refused_with_the_way_out() -> None:
    address = f"127.0.0.1:{free_port()}"

    with pytest.raises(UserError, match=f"No Ray cluster answers at {address}.*ray start --head"):
        check(ClusterSettings(address=address))


def test_a_port_that_answers_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check(ClusterSettings(address=f"127.0.0.1:{server.getsockname()[1]}"))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_session_inside_a_session_leaves_ray_running() -> None:
    import ray

    with session(ClusterSettings()):
        pass

    assert ray.is_initialized()


@pytest.mark.parametrize(
    "broken", [{"workers": (0,)}, {"workers": (3, 2)}, {"gpus_per_worker": 2}, {"retries": -1}]
)
def test_settings_that_cannot_be_are_refused_by_name(broken: dict[str, Any]) -> None:
    name = next(iter(broken)).replace("_", "-")

    with pytest.raises(ValueError, match=f"cluster.{name}"):
        ClusterSettings(**broken)
