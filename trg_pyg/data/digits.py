"""The handwritten digits that come with scikit-learn: nothing to download, trains in seconds."""

import torch
import torch.nn.functional as F

from trg_pyg.data.base import ImageData, ImageSet
from trg_pyg.data.splits.holdout import holdout_indices


class Digits(ImageData):
    """scikit-learn's 1,797 digits of 8x8 pixels as 32x32 RGB images, 20 % of each class held out for testing.

    Args:
        imbalance: imbalance factor >= 1, largest class over smallest, of a long-tailed training split; None keeps
            every training image.
        subset_seed: chooses the test images, the validation images among the others, and those that a long-tailed
            split takes.
        crop_padding: zeros on each side before the random crop, >= 0; 0 leaves the crop out; None stands for 2.
        flip: mirror training images left to right at random; None stands for no, because a mirrored digit is no digit.
        validation: share of each class of the training images, in (0, 1), that is held out and takes the place of the
            test images; None evaluates on the test images.
        heldout: share of each class of the training images, in (0, 1), by which the best epoch is chosen, and of which
            methods may learn.
        unlabelled: folder of images, at any depth, for methods that learn without labels.
    """

    default_crop_padding = 2
    default_flip = False

    def _read(self) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
        from sklearn.datasets import load_digits  # takes seconds to import and no other dataset needs it

        bunch = load_digits()
        ink = torch.from_numpy(bunch.images).float().unsqueeze(1) * (255 / 16)
        large = F.interpolate(ink, size=(32, 32), mode="bilinear", align_corners=False).round().to(torch.uint8)
        digits = ImageSet(large.repeat(1, 3, 1, 1), torch.from_numpy(bunch.target).long())
        classes = tuple(str(name) for name in bunch.target_names)
        held = torch.zeros(len(digits), dtype=torch.bool)
        held[holdout_indices(digits.targets, classes, 0.2, self.subset_seed)] = True
        return digits.select(~held), digits.select(held), classes
