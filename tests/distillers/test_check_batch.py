import pytest
import torch

from trg_pyg.distillers import KD, TRG, Distiller, Vanilla
from trg_pyg.errors import InputError
from trg_pyg.step import Step


@pytest.mark.parametrize("cls", [Vanilla, KD, TRG])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: o._replace(logits=o.logits[:2]), r"logits of the student: \(2, 5\) .* where \(3, 5\)"),
        (lambda o: o._replace(logits=o.logits[:, :4]), r"logits of the student: \(3, 4\) .* where \(3, 5\)"),
        (lambda o: o._replace(logits=o.logits.detach().long()), "logits of the student: .* of type torch.int64"),
        (lambda o: o._replace(features=o.features[1:]), "1 features of the student, which was described with 2"),
        (
            lambda o: o._replace(features=(o.features[0], o.features[1][:1])),
            r"tap layer3 of the student: \(1, 6, 8, 8\)",
        ),
        (lambda o: o._replace(embedding=o.embedding[:, :2]), r"embedding of the student: \(3, 2\) .* where \(3, 6\)"),
    ],
)
def test_outputs_are_those_that_were_described(
    cls: type[Distiller], change, message: str, networks, outputs, step
) -> None:
    student, teacher = outputs()
    with pytest.raises(InputError, match=message):
        cls(*networks)(change(student), teacher, step())


@pytest.mark.parametrize("cls", [Vanilla, KD, TRG])
def test_labels_are_classes(cls: type[Distiller], networks, outputs) -> None:
    with pytest.raises(InputError, match="label 5 among 5 classes: labels count from 0"):
        cls(*networks)(*outputs(), Step(torch.tensor([0, 5, 1]), 0.5, torch.Generator(), torch.arange(3)))


def test_the_teachers_outputs_too(networks, outputs, step) -> None:
    student, teacher = outputs()
    with pytest.raises(InputError, match=r"logits of the teacher: \(2, 5\)"):
        KD(*networks)(student, teacher._replace(logits=teacher.logits[:2]), step())


def test_a_batch_has_images(networks, outputs) -> None:
    empty = Step(torch.zeros(0, dtype=torch.long), 0.5, torch.Generator())
    with pytest.raises(InputError, match="a batch without images"):
        KD(*networks)(*outputs(0), empty)


def test_features_that_come_before_those_described_are_passed_over(networks, outputs, step) -> None:
    student, teacher = outputs()
    more = student._replace(features=(torch.zeros(3, 1, 64, 64), *student.features))
    losses = [KD(*networks)(side, teacher, step()).total for side in (student, more)]
    assert torch.equal(*losses)
