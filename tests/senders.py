"""All that a team has, and who sends its runs: somebody by hand, or a schedule's clock."""

import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

import mlflow
from clocks import account
from mlflow_server import MlflowServer
from ray_nodes import ROOT, Cluster, kill
from small_runs import MODEL, Command
from waiting import wait_until

from pipelines.schedule.due import retries
from pipelines.schedule.records import Account

PATIENCE = 240  # Seconds after which what does not come will not.
STEPS = 3000
RUN = """
name = "{name}"
workspace = "{home}/{name}"
checkpoints = "s3://{bucket}/{name}/trained"
[data]
raw = "s3://{bucket}/raw"
shards = "s3://{bucket}/{name}/shards"
modalities = ["image"]
shard_size = 100
val = 0.1
test = 0.3
{model}[train]
steps = {steps}
batch = 24
rate = 3e-3
save_every = 300
evaluate_every = 1500
[cluster]
cpus_per_worker = 1
[tracking]
uri = "{tracking}"
"""


@dataclass
class World:
    """All that a team has: nodes, a bucket, a tracking server."""

    nodes: Cluster
    server: MlflowServer
    bucket: str
    home: Path
    perceiver: Command
    begun: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def write(self, name: str) -> Path:
        """The run file of a run of this name."""
        path = self.home / f"{name}.toml"
        text = RUN.format(
            name=name, home=self.home, bucket=self.bucket, tracking=self.server.uri, model=MODEL, steps=STEPS
        )
        path.write_text(text)
        return path

    def begin(self, log: Path, *words: object) -> "subprocess.Popen[bytes]":
        """`perceiver WORDS` as a process of its own, which writes to that log."""
        with log.open("ab") as said:
            self.begun.append(
                subprocess.Popen(
                    [sys.executable, "-m", "pipelines", *map(str, words)], stdout=said, stderr=said,
                    stdin=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **self.nodes.environment},
                )
            )  # fmt: skip
        return self.begun[-1]

    def champion(self, name: str) -> dict[str, object]:
        """What is the champion, and the curves of its run."""
        client = mlflow.MlflowClient(self.server.uri)
        version = client.get_model_version_by_alias(name, "champion")
        history = client.get_registered_model(name).tags
        curves = {
            metric: [(one.step, one.value) for one in client.get_metric_history(version.run_id, metric)]
            for metric in ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
        }
        return {
            "weights": version.tags["weights"], "curves": curves,
            "moves": [tag for tag in history if tag.startswith("champion.")],
        }  # fmt: skip


class ByHand:
    """Somebody who submits a run and follows it, and submits it again, until it has succeeded."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name, self.run_file = world, name, world.write(name)
        self.log = self.run_file.with_suffix(".log")
        self.process = self.begin()

    @property
    def address(self) -> tuple[str, str]:
        return "--cluster.address", self.world.nodes.job_server

    @property
    def said(self) -> str:
        return self.log.read_text()

    def begin(self) -> "subprocess.Popen[bytes]":
        return self.world.begin(self.log, "submit", self.run_file, *self.address, "--follow")

    def goes_on(self) -> bool:
        """Whether it has not succeeded; what has ended otherwise is begun again."""
        if self.process.poll() is None:
            return True
        if self.process.returncode == 0:
            return False
        self.process = self.begin()
        return True

    def strike(self, chance: random.Random) -> bool:
        self.process.kill()
        return self.process.wait() == -SIGKILL


class ByClock(ByHand):
    """A schedule that submits it; its clock is started again whenever it is gone."""

    @property
    def workspace(self) -> tuple[str, Path]:
        return "--workspace", self.world.home / self.name

    @property
    def account(self) -> Account:
        return account(self.workspace[1], self.name)

    @property
    def said(self) -> str:
        logs = sorted((self.workspace[1] / "schedules" / self.name).glob("*.log"))
        return "".join(log.read_text() for log in [self.log, *logs])

    def begin(self) -> "subprocess.Popen[bytes]":
        if not (self.workspace[1] / "schedules").exists():
            env = self.world.nodes.environment
            words = ("--cron", "@yearly", "--retry-seconds", "1", *self.address)
            self.world.perceiver("schedule", "add", self.run_file, *words, env=env)
            self.world.perceiver("schedule", "run-now", *self.workspace, env=env)
        return self.world.begin(self.log, "schedule", "start", *self.workspace)

    def goes_on(self) -> bool:
        before = self.account
        if self.process.poll() is not None:
            assert self.process.returncode == -SIGKILL, self.said
            self.process = self.begin()
        elif before.result == "done":
            self.process.terminate()
            return self.process.wait(PATIENCE) != 0
        elif before.result == "failed" and not retries(before):
            self.world.perceiver("schedule", "run-now", *self.workspace, env=self.world.nodes.environment)
            wait_until(lambda: self.account != before, pause=0.2)
        return True

    def strike(self, chance: random.Random) -> bool:
        """The clock, and by chance what it has begun as well."""
        if chance.random() < 0.5 and self.account.pid:
            kill(self.account.pid)
        return super().strike(chance)
