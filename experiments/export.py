"""``trg export`` of a clone, installed or not: ``python experiments/export.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("export")
