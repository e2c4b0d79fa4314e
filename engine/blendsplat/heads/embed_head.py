# SPDX-License-Identifier: Apache-2.0
"""Detects a head's landmark embedding anew: ``python -m blendsplat.heads.embed_head [human | FILE]``."""

from __future__ import annotations

import sys

from blendsplat.folders import cache_folder
from blendsplat.heads.embedding import COUNT, SHIPPED, embed_landmarks, head_key, renderer_of, save_embedding
from blendsplat.heads.load import load_head


def main(source: str) -> None:
    """The head human's becomes the shipped file, another head's goes into the cache."""
    head = load_head(source, landmarks=False)
    embedding = embed_landmarks(head, renderer=renderer_of(head))
    path = SHIPPED if source == "human" else cache_folder() / f"landmarks-{head_key(head)}.npz"
    save_embedding(path, embedding, head)
    print(f"{path}: {int((embedding.weights > 0).sum())} of {COUNT} points")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "human")
