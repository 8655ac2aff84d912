"""A configuration to begin with: `mtcnn-fast train --example`."""

from __future__ import annotations

from mtcnn_fast.datasets import FORMATS

EXAMPLE = f"""\
# mtcnn-fast train all --config THIS_FILE --output FOLDER     (--dry-run checks it, and prints what a run would do)
# Paths start at the folder of this file. A setting behind a # shows its default.

seed = 1
start = "scratch"         # or "embedded", or the path of a weight file: fine-tuning

[[sources]]               # pictures to learn from; one table per data set
annotations = "wider_face_split/wider_face_train_bbx_gt.txt"
images = "WIDER_train/images"
# format = "wider"        # one of {", ".join(FORMATS)}; if not set, detected from the annotations
# only = "train.txt"      # a list of the pictures to take
# complete = true         # every face is labelled
# expand = [0, 0, 0, 0]   # shares of a box by which its left, top, right and bottom side move outward
# scales = [1]            # [1, 0.7, 0.5, 0.35] also learns from shrunken copies of the pictures

[[sources]]
annotations = "celeba"    # a folder with list_bbox_celeba.txt and list_landmarks_celeba.txt
complete = false          # other faces in the pictures are not labelled

[[sources]]
annotations = "objects"   # a folder of pictures in which there is no face
format = "backgrounds"

[[validation]]            # whole pictures, not learned, some of them complete: the epoch of best recall is kept
annotations = "wider_face_split/wider_face_val_bbx_gt.txt"
images = "WIDER_val/images"

[pnet]
epochs = 16               # if raised later, the run goes on
batches = 2000            # per epoch
# batch_size = 448
# learning_rate = 0.01
# patience = 3            # stop after this many epochs without a better recall; if not set, never

[rnet]
# epochs = 16

[onet]
# epochs = 16
# mix = [3, 1, 1, 2]      # negatives, positives, part faces, landmark faces in a batch
"""
