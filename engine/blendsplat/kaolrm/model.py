# SPDX-License-Identifier: Apache-2.0
"""The whole network: an image becomes a triplane, the triplane becomes a parametric head and Gaussians on its surface.

``forward`` and its parts are what training uses; ``regress`` is inference and runs the folded network (inference.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from blendsplat.errors import InputError
from blendsplat.heads.model import HeadModel, HeadParams
from blendsplat.kaolrm.config import Config
from blendsplat.kaolrm.conventions import camera_vector, canonical_viewmat
from blendsplat.kaolrm.decoders import FlameDecoder, GaussianDecoder, SurfaceGaussians, exact, split_coefficients
from blendsplat.kaolrm.encoder import ImageEncoder
from blendsplat.kaolrm.inference import Folded
from blendsplat.kaolrm.triplane import CameraEmbedder, TriplaneTransformer, plane_means, spread_texels, upsample

Precision = Literal["float32", "bfloat16"]


def source_camera() -> Tensor:
    """The camera vector [16] of the canonical source view, which inference uses for every released model."""
    return torch.from_numpy(camera_vector(canonical_viewmat())).float()


class KaoLRM(nn.Module):
    """The network of ``config``; its state dict's keys are the released checkpoint's."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config)
        self.camera_embedder = CameraEmbedder(config.camera_embed_dim)
        self.pos_embed = nn.Parameter(
            torch.randn(1, config.tokens, config.transformer_dim) / config.transformer_dim**0.5
        )
        self.transformer = TriplaneTransformer(config)
        self.upsampler = nn.ConvTranspose2d(config.transformer_dim, config.triplane_dim, 2, 2)
        self.flame_decoder = FlameDecoder(config)
        self.gaussian_decoder = GaussianDecoder(config)
        self._folded: tuple[tuple[object, ...], Folded] | None = None
        self._initialise_encoder()

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """images [B,3,S,S] in [0,1], cameras [B,16] -> (coefficients as ``regress`` gives them, planes [B,3,D,R,R])."""
        tokens = self.tokens(images, cameras)
        return self.coefficients(tokens), self.planes(tokens)

    def tokens(self, images: Tensor, cameras: Tensor | None = None) -> Tensor:
        """images [B,3,S,S], cameras [B,16] (left out: the canonical one) -> triplane tokens [B,N,C]."""
        self._check(images)
        if cameras is None:
            cameras = source_camera().to(self.pos_embed).expand(len(images), -1)
        embedding = self.camera_embedder(cameras)
        return self.transformer(self.pos_embed.expand(len(images), -1, -1), self.encoder(images), embedding)

    def planes(self, tokens: Tensor) -> Tensor:
        """Triplane tokens [B,N,C] -> planes [B,3,D,R,R] for the Gaussian decoder."""
        return upsample(self.upsampler, tokens, self.config.triplane_low_res)

    def raw_coefficients(self, tokens: Tensor) -> Tensor:
        """Triplane tokens [B,N,C] -> the FLAME decoder's numbers [B,S+E+10] before they are split and bounded."""
        with torch.autocast(tokens.device.type, enabled=False):
            means = plane_means(self.upsampler, exact(tokens), self.config.triplane_low_res)
            shares = self.flame_decoder.gate(tokens)
            if shares is not None:
                means = means * spread_texels(shares.expand(-1, -1, 4), self.config.triplane_low_res)
            return self.flame_decoder(means)

    def coefficients(self, tokens: Tensor) -> dict[str, Tensor]:
        """Triplane tokens [B,N,C] -> shape, expression, pose, scale, translation (see split_coefficients)."""
        return split_coefficients(self.raw_coefficients(tokens), self.config)

    def regress(self, images: Tensor, precision: Precision = "float32") -> dict[str, Tensor]:
        """Images [B,3,S,S], RGB in [0,1] on white, head and shoulders at about 0.8 of the frame -> the head.

        shape [B,S], expression [B,E], pose [B,6]: global and jaw rotation vectors, scale [B,1], translation [B,3]; the
        mesh is head_vertices(...) of them. precision "bfloat16" takes three quarters of the time and
        is less exact (docs/kaolrm.md). No gradients. Raises InputError for images of another kind.
        """
        return self.read(images, precision)[0]

    def read(self, images: Tensor, precision: Precision = "float32") -> tuple[dict[str, Tensor], Tensor]:
        """As regress, and what the decoder read: the planes' means [B,3*(2R)^2]."""
        self._check(images)
        if not bool(torch.isfinite(images).all()):
            raise InputError("KaoLRM reads images of floats in [0,1]; these hold values that are not finite.")
        with torch.inference_mode():
            tokens = self.folded(precision).tokens(images.to(self.pos_embed))
            means = plane_means(self.upsampler, exact(tokens), self.config.triplane_low_res)
            return {name: value.clone() for name, value in self.coefficients(tokens).items()}, means.clone()

    def folded(self, precision: Precision = "float32") -> Folded:
        """The inference network of the present weights; it shares their memory and is rebuilt when they change."""
        key = (precision, *((p.data_ptr(), p._version) for p in self.parameters()))
        if self._folded is None or self._folded[0] != key:
            with torch.no_grad():
                camera = self.camera_embedder(source_camera().to(self.pos_embed)[None])
                self._folded = key, Folded(self.encoder, self.transformer, self.pos_embed, camera, precision)
        return self._folded[1]

    def gaussians(self, planes: Tensor, points: Tensor, focal: float | None = None) -> SurfaceGaussians:
        """planes [B,3,D,R,R], surface points [B,N,3] in world units -> the Gaussians that lie there."""
        return self.gaussian_decoder(planes, points, self.config.focal if focal is None else focal)

    def _check(self, images: Tensor) -> None:
        patch = self.config.encoder_patch
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise InputError(
                f"KaoLRM reads images [B,3,H,W] of floats in [0,1], not {list(images.shape)} of {images.dtype}."
            )
        if len(images) == 0 or min(images.shape[2:]) < patch or any(side % patch for side in images.shape[2:]):
            raise InputError(
                f"KaoLRM reads images whose sides are multiples of {patch} pixels, not {list(images.shape)}; "
                f"resize them to {self.config.image_size} x {self.config.image_size}."
            )

    def _initialise_encoder(self) -> None:
        """Small random tokens, as vision transformers start; a checkpoint replaces them."""
        model = self.encoder.model
        for parameter in (model.cls_token, model.pos_embed, model.register_tokens):
            nn.init.trunc_normal_(parameter, std=0.02)


def head_params(coefficients: dict[str, Tensor], head: HeadModel) -> HeadParams:
    """Regressed coefficients -> parameters of ``head``, without scale and translation; what it has more of is zero.

    Raises InputError when the head has fewer directions than the model regresses.
    """
    shape, expression, pose = coefficients["shape"], coefficients["expression"], coefficients["pose"]
    for what, have, want in (
        ("shape", head.shape_count, shape.shape[-1]),
        ("expression", head.expression_count, expression.shape[-1]),
    ):
        if have < want:
            raise InputError(
                f"The head {head.name!r} has {have} {what} parameters, but this KaoLRM regresses {want}: "
                "it was trained for another head."
            )
    still = head.neutral(len(shape)).to(shape)
    return replace(
        still,
        shape=torch.cat([shape, still.shape[:, shape.shape[-1] :]], -1),
        expression=torch.cat([expression, still.expression[:, expression.shape[-1] :]], -1),
        root_pose=pose[:, :3],
        jaw_pose=pose[:, 3:],
    )


def head_vertices(coefficients: dict[str, Tensor], head: HeadModel, focal: float) -> Tensor:
    """The regressed mesh [B,V,3] in world units: head(...) * scale + translation (KaoLRM, equation 1).

    For a focal length above 1, where depth cannot be told from size, the translation's z is taken as 0.
    """
    translation = coefficients["translation"]
    if focal > 1:
        translation = translation * translation.new_tensor([1.0, 1.0, 0.0])
    vertices = head(head_params(coefficients, head))
    return vertices * coefficients["scale"][:, :, None] + translation[:, None]
