"""``trg table`` of a clone, installed or not: ``python experiments/results.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("table")
