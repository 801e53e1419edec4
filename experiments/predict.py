"""``trg predict`` of a clone, installed or not: ``python experiments/predict.py --help``."""

from clone import trg

if __name__ == "__main__":
    trg("predict")
