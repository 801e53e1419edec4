"""``trg visualize`` of a clone, installed or not: ``python experiments/visualize.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("visualize")
