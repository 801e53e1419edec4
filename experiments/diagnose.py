"""``trg diagnose`` of a clone, installed or not: ``python experiments/diagnose.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("diagnose")
