"""Cost of train_config.ema: processor time of the same steps with and without it, in turn.

    python -m tzmmoe.synthetic --out data/synthetic
    python scripts/measure_averages.py data/synthetic configs/synthetic_mmoe.config --batch_size 512

Batches are read before the clock starts. Prints the milliseconds per step of each round, and the
median of the ratios.
"""

import argparse
import itertools
import logging
import statistics
import time
from pathlib import Path

from tzmmoe import Pipeline
from tzmmoe.batch import Batch, Position
from tzmmoe.learning.step import TrainStep
from tzmmoe.run.session import Session


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("data", type=Path, help="a folder that tzmmoe.synthetic wrote")
    flags.add_argument("config", help="a config for these columns")
    flags.add_argument("--batch_size", type=int, default=512)
    flags.add_argument("--steps", type=int, default=40, help="steps in a round")
    flags.add_argument("--rounds", type=int, default=7)
    flags.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    given = flags.parse_args()
    logging.disable(logging.WARNING)
    edits = [
        "model_dir=unused",
        f"train_input_path={given.data}/train",
        f"eval_input_path={given.data}/eval",
        f"data_config.batch_size={given.batch_size}",
        *given.set,
    ]
    runs = [_Run(given.config, [*edits, *ema]) for ema in ([], ["train_config.ema={}"])]
    batches = runs[0].batches(given.steps)
    for run in runs:  # warms up
        run.milliseconds(batches)
    ratios = []
    for _ in range(given.rounds):
        without, averaged = (run.milliseconds(batches) for run in runs)
        ratios.append(averaged / without)
        print(f"  {without:.2f} and {averaged:.2f} ms, ratio {ratios[-1]:.3f}", flush=True)
    print(f"batches of {given.batch_size}: median ratio {statistics.median(ratios):.3f}")


class _Run:
    """The steps of a config."""

    def __init__(self, config: str, edits: list[str]) -> None:
        made = Pipeline.load(config, settings=edits, device="cpu").config
        self.session = Session.start(made, device="cpu", trains=True)
        built, learning = self.session.built, self.session.settings.learning
        self.step = TrainStep.of(built.model, built.tasks, learning, self.session.runtime.device)
        self.rates = learning.schedules().at(0, epoch=0)

    def batches(self, count: int) -> list[Batch]:
        path = self.session.settings.files.train_input_path
        columns = self.session.built.tasks.columns()
        loader = self.session.loader(path, "--train_input_path", columns, training=True)
        return [batch for batch, _ in itertools.islice(loader.epoch(Position()), count)]

    def milliseconds(self, batches: list[Batch]) -> float:
        """Processor time per step."""
        began = time.process_time()
        for batch in batches:
            self.step(batch, self.rates)
        return 1000 * (time.process_time() - began) / len(batches)


if __name__ == "__main__":
    main()
