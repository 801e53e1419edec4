"""The trainings that faults are injected in: small, but with a teacher's training, evaluations and many checkpoints."""

from pathlib import Path

_NETWORK = "experiments.faults.tiny_net.TinyNet"
_OPTIONS = {
    "TRG": ["--distiller=TRG", "--distiller.k=4", "--distiller.tokens_per_image=8"],
    "CRD": ["--distiller=CRD", "--distiller.negatives=32"],
    "AnnealingKD": ["--distiller=AnnealingKD"],
    "TRG, stored": [
        *("--distiller=TRG", "--distiller.k=4", "--distiller.tokens_per_image=8"),
        *("--teacher_store=maps", "--data.crop_padding=0", "--data.flip=false"),
    ],
    "HintDynamic": ["--distiller=HintDynamic", "--distiller.every=2", "--data.imbalance=20"],
    "ADKD, texts": [
        *("--distiller=ADKD", "--data=Reviews", "--data.imbalance=100"),
        *("--student.name=text_transformer", "--teacher.name=text_transformer"),
    ],
    "IKD, boxes": [
        *("--distiller=IKD", "--distiller.attack_steps=1", "--distiller.until=1", "--data=PastedDigits"),
        *("--student.name=retinanet", "--student.args={channels: 8}"),
        *("--teacher.name=retinanet", "--teacher.args={channels: 16}"),
        *("--train.batch_size=3", "--teacher.train.batch_size=3", "--train.lr=0.01", "--train.grad_clip=1"),
    ],
}
# A method whose draws and graphs could be forgotten, one with memory banks, one of two phases, one whose teacher is
# stored, one with a stream of images and an optimiser of its own, one on texts, whose student has dropout, and one on
# boxes, which draws images of its own.
RECIPES = tuple(_OPTIONS)
# Epochs of the student.
EPOCHS = 2


def arguments(recipe: str, output: Path, resume: bool = True) -> list[str]:
    """Return the arguments of ``run.py``.

    A training has about 60 steps an epoch, so that checkpoints, which are due every 50 steps, fall within epochs too.

    Args:
        recipe: one of :data:`RECIPES`.
        output: folder of its runs and its teacher.
        resume: go on with what is there.
    """
    options = _OPTIONS[recipe]
    digits = ["--data=Digits", "--data.imbalance=100"]
    return [
        *([] if any(option.startswith("--data=") for option in options) else digits),
        *("--seeds", "0"),
        *(f"--student.name={_NETWORK}", "--student.args.width=8"),
        *(f"--teacher.name={_NETWORK}", "--teacher.args.width=12"),
        *(f"--train.epochs={EPOCHS}", "--train.batch_size=6", "--train.eval_batch_size=8"),
        *("--teacher.train.epochs=1", "--teacher.train.batch_size=6", "--teacher.train.eval_batch_size=8"),
        *("--checkpoint_minutes=0", "--keep=2", "--wandb=disabled", "--device=cpu", f"--output={output}"),
        *(["--auto_resume"] if resume else []),
        *options,
    ]
