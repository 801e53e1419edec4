"""``trg evaluate`` of a clone, installed or not: ``python experiments/evaluate.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("evaluate")
