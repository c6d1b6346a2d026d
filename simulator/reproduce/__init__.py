"""Published figures beside simulated ones: experiments, each a small YAML file."""

from simulator.reproduce.experiment import Experiment, list_experiments, read_experiment
from simulator.reproduce.outcome import Outcome, Reproduced, reproduce

__all__ = ["Experiment", "Outcome", "Reproduced", "list_experiments", "read_experiment", "reproduce"]
