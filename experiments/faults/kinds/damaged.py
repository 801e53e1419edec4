"""Checkpoints that are damaged between a stop and the resumption."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

from experiments.faults.fault import IDENTICAL, Bench, Fault, Trial
from experiments.faults.standing import differences, is_teacher, run_folders


def _truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(1, len(content))]


def _flip(content: bytes, draw: random.Random) -> bytes:
    flipped = bytearray(content)
    for place in draw.sample(range(8 * len(content)), draw.choice((1, 1, 2, 16, 256))):
        flipped[place // 8] ^= 1 << place % 8
    return bytes(flipped)


def _empty(content: bytes, draw: random.Random) -> bytes:
    return b""


def _rubbish(content: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(len(content))


_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _truncate,
    "bits flipped": _flip,
    "of length 0": _empty,
    "rubbish": _rubbish,
}


class Damaged(Fault):
    """A training is stopped at a random moment, its newest checkpoint is damaged, and it is resumed to its end.

    It has to say so and to go on from the checkpoint before.
    """

    name = "damaged checkpoint"
    counted = f"{IDENTICAL}; the damage is not named or the checkpoint before not used"
    times = 24

    def trial(self, bench: Bench) -> Trial:
        """Damage one checkpoint."""
        trial = Trial()
        file = self._stopped(bench)
        # Each recipe gets each kind.
        kind = list(_DAMAGES)[bench.number // 2 % len(_DAMAGES)]
        content = file.read_bytes()
        damaged = _DAMAGES[kind](content, bench.random)
        if damaged == content:
            return trial
        file.write_bytes(damaged)
        trial.hit(f"{kind}, {'teacher' if is_teacher(file.relative_to(bench.tree)) else 'student'}")
        training = bench.start("resumed")
        trial.expect_end(training)
        printed = training.printed()
        trial.expect(
            "checkpoint.pt: " in printed and "Going on from checkpoint.1.pt, the one before" in printed,
            f"nothing was said of a checkpoint that is {kind}: {printed[-300:]}",
        )
        trial.lost += differences(bench.reference.tree, bench.tree)
        return trial

    def _stopped(self, bench: Bench) -> Path:
        """Stop a training at a random moment and return a checkpoint that has one before it."""
        for attempt in range(1000):
            training = bench.start(f"stopped-{attempt}")
            training.wait(bench.moment(bench.reference.seconds, attempt))
            training.send(signal.SIGTERM)
            training.wait()
            files = [bench.tree / folder / "checkpoint.pt" for folder in run_folders(bench.tree)]
            both = [file for file in files if file.exists() and file.with_name("checkpoint.1.pt").exists()]
            if both:
                # The last that was written: of several it is the one that a crash would hit.
                return max(both, key=os.path.getmtime)
        raise RuntimeError("no training has written two checkpoints")
