# SPDX-License-Identifier: Apache-2.0
"""From a batch of pictures to the terms of the published loss: the network, the drawn head, and how both compare.

It is one module whose forward is everything that has gradients, as training on several devices wants it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from blendsplat.errors import InputError
from blendsplat.geometry import project_points
from blendsplat.heads.landmarks68 import landmarks68
from blendsplat.heads.model import HeadModel
from blendsplat.image_metrics.lpips import Lpips
from blendsplat.image_metrics.psnr_ssim import ssim
from blendsplat.kaolrm.decoders import exact
from blendsplat.kaolrm.model import KaoLRM, head_vertices
from blendsplat.kaolrm.training.draw_head import MeshView, SurfelImage, draw_mesh, draw_surfels
from blendsplat.kaolrm.training.losses import (
    alpha_loss,
    binding_losses,
    face_triangles,
    landmark_loss,
    pixel_loss,
    regulariser,
)
from blendsplat.kaolrm.training.presets import LossWeights, PublishedPreset
from blendsplat.kaolrm.training.published_dataset import Views

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Objective(nn.Module):
    """``model`` with what judges it; the head and the perceptual metric are no part of its parameters."""

    def __init__(self, model: KaoLRM, head: HeadModel, preset: PublishedPreset, lpips: Lpips | None = None) -> None:
        super().__init__()
        self.model, self.preset = model, preset
        self.head, self._face, self._lpips = head, face_triangles(head), (lpips,)  # the tuple hides its buffers

    def forward(self, views: Views, weights: LossWeights, seed: int) -> dict[str, Tensor]:
        """Every term whose weight is not 0, as a scalar. seed: of the points on the surface.

        A launcher may have set a half precision round this: only the transformers choose one (regress).
        """
        with torch.autocast(views.sources.device.type, enabled=False):
            return self._terms(views, weights, seed)

    def _terms(self, views: Views, weights: LossWeights, seed: int) -> dict[str, Tensor]:
        coefficients, planes = self.regress(views)
        vertices = head_vertices(coefficients, self.head, self.model.config.focal)
        terms: dict[str, Tensor] = {}
        if weights.landmarks:
            flat = self.landmarks(vertices, views)
            terms["landmarks"] = landmark_loss(flat, views.landmarks.flatten(0, 1), self.preset.render_size)
        for name in ("shape", "expression"):
            if getattr(weights, name):
                terms[name] = regulariser(coefficients[name])
        if weights.pictures:
            surfels = self.draw(planes, vertices, views, seed)
            terms |= self._picture_terms(surfels, vertices, views, weights)
        return terms

    def regress(self, views: Views) -> tuple[dict[str, Tensor], Tensor]:
        """Coefficients of B heads and planes [B,3,D,R,R]; the transformers run in the preset's precision."""
        dtype = _DTYPES[self.preset.precision]
        with torch.autocast(views.sources.device.type, dtype, enabled=dtype != torch.float32):
            tokens = self.model.tokens(views.sources, views.cameras)
        tokens = exact(tokens)
        return self.model.coefficients(tokens), self.model.planes(tokens)

    def landmarks(self, vertices: Tensor, views: Views) -> Tensor:
        """The 68 landmarks [B V,68,2] of vertices [B,N,3] in pixels of every view."""
        points = landmarks68(self.head, vertices).repeat_interleave(views.viewmats.shape[1], 0)
        return project_points(points, views.viewmats.flatten(0, 1), views.Ks.flatten(0, 1))

    def draw(self, planes: Tensor, vertices: Tensor, views: Views, seed: int) -> SurfelImage:
        """The heads as surfels, from every view."""
        return draw_surfels(
            self.model, planes, vertices, self.head.faces, views.viewmats, views.Ks, self.preset.render_size,
            views.backgrounds, self.preset.points, seed,
        )  # fmt: skip

    def _picture_terms(
        self, surfels: SurfelImage, vertices: Tensor, views: Views, weights: LossWeights
    ) -> dict[str, Tensor]:
        targets, size = views.targets.flatten(0, 1), self.preset.render_size
        terms: dict[str, Tensor] = {}
        if weights.alpha:
            terms["alpha"] = alpha_loss(surfels.alpha, views.alphas.flatten(0, 1))
        if weights.ssim:
            terms["ssim"] = (1 - ssim(surfels.image, targets)).mean()
        if weights.lpips and self._lpips[0] is not None:
            terms["lpips"] = self._lpips[0](surfels.image, targets).mean()
        binds = bool(weights.depth or weights.normal)
        if weights.pixel or binds:
            # where files say where the face is and nothing is bound, the mesh need not be drawn
            drawn = binds or not views.masks.shape[1]
            mesh = draw_mesh(vertices, self.head.faces, views.viewmats, views.Ks, size) if drawn else None
            mask = self.face_mask(mesh, views)
            if weights.pixel:
                terms["pixel"] = pixel_loss(surfels.image, targets, mask, self.preset.face_share)
            if mesh is not None and binds:
                both = mask * (mesh.face_ids >= 0)[..., None] * (surfels.depth.detach() > 0)
                terms["depth"], terms["normal"] = binding_losses(
                    surfels.depth, surfels.normals, mesh.depth, mesh.normals, both
                )
        return terms

    def face_mask(self, mesh: MeshView | None, views: Views) -> Tensor:
        """[M,H,W,1]: the data's masks or, where it has none, where the mesh shows the face (section 4.2)."""
        if views.masks.shape[1] or mesh is None:
            return views.masks.flatten(0, 1)
        shown = self._face[mesh.face_ids.clamp_min(0).long()] & (mesh.face_ids >= 0)
        return shown[..., None].float()


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """The loss: every term times its weight. Raises InputError when no term counts."""
    if not terms:
        raise InputError("No term of the loss has a weight in the preset, so there is nothing to learn.")
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
