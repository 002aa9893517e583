"""What `perceiver --help` says, and the first words of the help of each command that takes a run file."""

USAGE = """perceiver COMMAND RUN.toml [--key value ...] [--json]
perceiver COMMAND WHAT [--option value ...] [--json]

of a run file:
  show       say what each stage would do and why, and the settings, then stop
  run        shard, train, evaluate, register, promote: what is not up to date
  shard      write the raw files as shards
  train      train the Perceiver on the shards
  evaluate   evaluate the trained weights on the test split
  register   register the evaluated model
  tell       tell the tracking store what it missed while it was away
  ui         open the MLflow UI on the run's tracking store

of clusters and clocks:
  submit     send the run to a Ray cluster as a job
  jobs       list | status | logs | stop: the jobs of a cluster
  schedule   run it whenever a cron expression says; list, pause, resume,
             remove, run-now, start
  manifests  write a cluster's files for a run: KubeRay, Amazon, Google
  lint       say what is wrong in cluster files that their schemas let pass

of runs and models:
  compare    lay runs side by side: the settings that differ, what each gave
  promote    make a version that passed the gate champion (MODEL@candidate)
  rollback   make the champion before it champion again (MODEL --reason TEXT)
  lineage    say where a version came from (MODEL@champion), or what came from
             shards or a file
  predict    ask a registered model for the class of raw files, or of samples

of shards:
  verify     read every byte of the shards and say what is damaged
  inspect    say what the shards hold, and draw a contact sheet of samples

`perceiver run --help` lists all settings, which are the keys of a run file;
`perceiver COMMAND --help` says more of each command. --json ends with exactly
one JSON object on stdout. Exit status: 0 done, 2 your mistake, 1 anything else."""

SETTINGS = (
    "The other options are the settings: every key of the run file is one, and every one a key of the run "
    "file; options win. --json ends with exactly one JSON object on stdout."
)

ABOUT = {
    "show": "Say what each stage would do and why, who is at work, and which settings are not the usual ones "
    "(--all: all of them), then stop.",
    "run": "Shard, train, evaluate, register, promote: what is up to date is not done again.\n\n"
    "--from, --until and --force choose among the stages shard, train, evaluate, register and promote.",
    "shard": "Write the raw files as shards; what is there already is kept.",
    "train": "Train the Perceiver on the shards, from the newest checkpoint where there is one.",
    "evaluate": "Evaluate the trained weights on the test split.",
    "register": "Register the evaluated model under an alias.",
    "tell": "Tell the tracking store what it missed while it was away.",
    "ui": "Serve the MLflow UI on the run's tracking store until Ctrl-C, and say the link to the newest run.",
}
"""What each command that takes a run file does."""
