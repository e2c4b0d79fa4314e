# SPDX-License-Identifier: Apache-2.0
"""Parametric heads behind one interface: load_head("human" | path) -> HeadModel."""

from blendsplat.heads.load import load_head
from blendsplat.heads.model import HeadModel, HeadParams, LandmarkEmbedding

__all__ = ["HeadModel", "HeadParams", "LandmarkEmbedding", "load_head"]
