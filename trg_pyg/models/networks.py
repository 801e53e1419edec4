"""What a method may do with the two networks of a step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from trg_pyg.batch import Inputs, device_of, rows_of
from trg_pyg.errors import InputError, require
from trg_pyg.models.taps import Outputs, TappedModel


class Networks:
    """The two networks of a step, for a method that asks more of them than their outputs for its images.

    Nothing that is asked here but :meth:`inherit` changes a network: running statistics, modes and the gradients of
    parameters that were there before stay as they are.

    Args:
        student: the network that learns.
        teacher: frozen, in evaluation mode; ``None`` where the method needs none.
        precision: the context in which their forward passes run, such as autocast.

    Attributes:
        passed: images that were sent through one of the two at a method's request, so far; what :meth:`head` makes of
            a feature is no pass.
    """

    def __init__(
        self,
        student: TappedModel,
        teacher: TappedModel | None = None,
        precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._student, self._teacher, self._precision = student, teacher, precision
        self.passed = 0

    def student(self, images: Inputs) -> Outputs:
        """Return the student's float32 outputs of a further pass, with gradient.

        Args:
            images: uint8, or float in [0, 1], ``[R, C, H, W]``; or what else the networks take.
        """
        self.passed += rows_of(images)
        with statistics_kept(self._student), self._precision():
            return self._student(images).in_float32()

    @torch.no_grad()
    def teacher(self, images: Inputs) -> Outputs:
        """Return the teacher's float32 outputs of a further pass, without gradient.

        Args:
            images: uint8, or float in [0, 1], ``[R, C, H, W]``; or what else the networks take.

        Raises:
            InputError: there is no teacher.
        """
        self.passed += rows_of(images)
        with self._precision():
            return self._need_teacher()(images).in_float32()

    def head(self, feature: Tensor, tap: int | None = None) -> Tensor:
        """Return the logits ``[R, classes]`` that the teacher gives for another feature in its own one's place.

        The gradient reaches the feature, and no parameter of the teacher.

        Args:
            feature: ``[R, ...]`` in the shape of the tap, or an embedding ``[R, d]``.
            tap: index of the teacher's tap, whose output is replaced; ``None`` for what its classifier takes.

        Raises:
            InputError: there is no teacher; as :meth:`~trg_pyg.models.taps.TappedModel.behind`.
        """
        with self._precision():
            logits = self._need_teacher().behind(feature, tap)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def classifier(self, owner: Literal["student", "teacher"]) -> nn.Module:
        """Return the layer of a network that takes its embedding ``[B, d]``.

        Raises:
            InputError: it is not known, or there is no teacher.
        """
        network = self._student if owner == "student" else self._need_teacher()
        if network.classifier is None:
            name = type(network.model).__name__
            raise InputError(f"the classifier of the {owner} {name} is not known; declare classifier_path in its class")
        return network.model.get_submodule(network.classifier)

    @torch.no_grad()
    def inherit(self, but: str) -> int:
        """Give the student the teacher's parameters and buffers of the same names and shapes, and return how many.

        Args:
            but: path of a module whose own ones stay.

        Raises:
            InputError: there is no teacher.
        """
        theirs, taken = self._need_teacher().model.state_dict(), 0
        for name, own in self._student.model.state_dict().items():
            if name in theirs and own.shape == theirs[name].shape and not name.startswith(f"{but}."):
                own.copy_(theirs[name])
                taken += 1
        return taken

    def parameters(self, part: Literal["network", "last_stage", "head"]) -> dict[str, nn.Parameter]:
        """Return the parameters of the student that learn, by name.

        Args:
            part: all; those from the last tap on, in the order in which the network has them; or its classifier's.

        Raises:
            InputError: the tap or the classifier is not known.
        """
        student = self._student
        found = {name: each for name, each in student.named_parameters() if each.requires_grad}
        if part == "network":
            return found
        if part == "head":
            self.classifier("student")
        path = student.classifier if part == "head" else student.taps[-1] if student.taps else None
        require(path is not None, f"the student {type(student.model).__name__} is not tapped: name a tap")
        inside = [name for name in found if name.startswith(f"model.{path}.")]
        if part == "head":
            return {name: found[name] for name in inside}
        names = list(found)
        return {name: found[name] for name in names[names.index(inside[0]) if inside else len(names) :]}

    def virtual(self, images: Inputs, changed: Mapping[str, Tensor]) -> Outputs:
        """Return what the student would give with other parameters, with gradient to these alone, twice where need be.

        It runs in the type of its parameters, whatever the precision of the training.

        Args:
            images: uint8, or float in [0, 1], ``[R, 3, H, W]``; or what else the networks take.
            changed: parameters by name, see :meth:`parameters`; the others are as they are.
        """
        self.passed += rows_of(images)
        student = self._student
        # Batch norms write to their buffers in a functional call too.
        kept = {name: buffer.clone() for name, buffer in student.named_buffers()}
        kept |= {name: parameter.detach() for name, parameter in student.named_parameters()}
        with torch.autocast(device_of(images).type, enabled=False):
            outputs: Outputs = functional_call(student, kept | dict(changed), (images,))
        return outputs

    def through(
        self, owner: Literal["student", "teacher"], inputs: Inputs, change: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the logits ``[R, classes]`` of a pass in which what a network sees of its inputs is changed.

        That is what its ``embeddings_path`` gives, of a text the vector of each token ``[R, n, D]``; of a network that
        names none, its images, normalised. The gradient reaches what ``change`` returns, of the teacher too, and it is
        differentiable again. The pass runs in the type of the parameters, whatever the precision of the training.

        Args:
            owner: whose pass it is.
            inputs: uint8 ``[R, C, H, W]``, or what else the networks take.
            change: takes the tensor and returns one of its shape in its place.

        Raises:
            InputError: there is no teacher.
        """
        self.passed += rows_of(inputs)
        network = self._student if owner == "student" else self._need_teacher()
        path = getattr(network.model, "embeddings_path", None)
        handle = (
            network.model.register_forward_pre_hook(lambda module, args: (change(args[0]), *args[1:]))
            if path is None
            else network.model.get_submodule(path).register_forward_hook(lambda module, args, out: change(out))
        )
        try:
            with torch.enable_grad(), statistics_kept(network), torch.autocast(device_of(inputs).type, enabled=False):
                outputs: Outputs = network(inputs)
        finally:
            handle.remove()
        return outputs.logits

    @contextmanager
    def attacked(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """Give the student as an attacker sees it, images ``[R, C, H, W]`` to logits, for the gradient of its images.

        Evaluation mode, and no parameter asks for a gradient, until the context ends.
        """
        student = self._student
        modes = {module: module.training for module in student.modules()}
        asked = [parameter for parameter in student.parameters() if parameter.requires_grad]
        student.eval()
        for parameter in asked:
            parameter.requires_grad_(False)
        try:
            with self._precision():
                yield self._attacked
        finally:
            for parameter in asked:
                parameter.requires_grad_(True)
            for module, mode in modes.items():
                module.training = mode

    def _attacked(self, images: Tensor) -> Tensor:
        self.passed += len(images)
        return self._student(images).logits.float()

    def _need_teacher(self) -> TappedModel:
        if self._teacher is None:
            raise InputError("this method asks a teacher, and there is none: name one")
        return self._teacher


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Let batch norms in training mode take a batch's statistics without keeping them."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
