"""Vision transformers for small images."""

from torchvision.models import VisionTransformer

from trg_pyg.errors import InputError
from trg_pyg.models._probe import ends_of_quarters


def vit_tiny_patch4_32(num_classes: int = 10, image_size: int = 32, depth: int = 12) -> VisionTransformer:
    """DeiT-tiny's width (192) and heads (3) on 4x4 patches: 8x8 tokens and a class token at 32x32.

    Touvron et al., Training data-efficient image transformers, Table 1, built from torchvision's transformer.

    Args:
        num_classes: width of the logits.
        image_size: side of the only image size that the network takes, a multiple of 4.
        depth: number of blocks.

    Returns:
        A network whose default taps, the last block of each quarter of the depth with ``encoder.ln`` for the very last,
        give ``[B, 1 + (image_size / 4) ** 2, 192]``.

    Raises:
        InputError: the image size is not a multiple of 4.
    """
    if image_size < 4 or image_size % 4:
        raise InputError(f"vit_tiny_patch4_32 image_size {image_size} is not a multiple of its patch size, 4")
    model = VisionTransformer(
        image_size=image_size,
        patch_size=4,
        num_layers=depth,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=num_classes,
    )
    model.num_prefix_tokens = 1
    blocks = [f"encoder.layers.encoder_layer_{index}" for index in ends_of_quarters(depth)]
    model.default_taps = (*blocks[:-1], "encoder.ln")
    return model
