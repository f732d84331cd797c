# SPDX-License-Identifier: GPL-3.0-or-later
"""Golden contexts for test_text.c from SAELens' concat_and_batch_sequences.

    python3 tests/reference/contexts.py

Writes tests/data/text/contexts.jsonl: documents, context size, BOS or null, and the contexts.
"""
import json
import os
import random
import sys

try:
    import torch
    from sae_lens.tokenization_and_batching import concat_and_batch_sequences
except ImportError:
    sys.exit("skipped: the Python packages torch and sae-lens are not installed")

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "text")
BOS = 99


def case(documents, size, bos):
    out = concat_and_batch_sequences(
        iter([torch.tensor(d, dtype=torch.long) for d in documents]), size,
        begin_batch_token_id=bos, begin_sequence_token_id=None, sequence_separator_token_id=bos)
    return {"documents": documents, "size": size, "bos": bos, "contexts": [c.tolist() for c in out]}


def cases():
    plain = [1, 2, 3, 4, 5, 6, 7]
    yield case([plain], 4, BOS)
    yield case([plain], 4, None)
    yield case([[1, 2, 3], [4, 5, 6]], 4, BOS)           # a document ends with its context
    yield case([[1, 2], [4, 5, 6]], 4, BOS)              # the next one's BOS is the context's last place
    yield case([[1, 2], [4, 5, 6], [7], [8, 9]], 4, BOS)
    yield case([[1], [2], [3], [4], [5]], 2, BOS)
    yield case([[BOS, 1, 2], [BOS, 3, 4, 5]], 4, BOS)    # documents that bring their own BOS
    yield case([[1, 2, 3, BOS, 4, 5, 6]], 4, BOS)        # one that goes on with BOS in a new context
    yield case([[1, 2, BOS], [BOS, BOS], [3]], 3, BOS)
    yield case([[1, 2]], 4, BOS)                         # not one whole context
    yield case([[1, 2, 3]], 4, BOS)
    yield case([[1, 2], [3]], 3, None)
    r = random.Random(7)
    for i in range(60):
        bos_share = r.choice([0, 0, 0.05, 0.4])
        documents = [[BOS if r.random() < bos_share else r.randrange(90) for _ in range(r.choice([1, 2, 3, 5, 9, 17]))]
                     for _ in range(r.randrange(1, 25))]
        yield case(documents, r.choice([2, 3, 4, 5, 8, 16]), BOS if i % 4 else None)


os.makedirs(OUT, exist_ok=True)
with open(os.path.join(OUT, "contexts.jsonl"), "w") as f:
    for c in cases():
        f.write(json.dumps(c, separators=(",", ":")) + "\n")
