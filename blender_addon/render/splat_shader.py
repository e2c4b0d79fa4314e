# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU programs of the viewport: splats as the engine's rasterizer draws them, and their picture over the scene.

Splats (EWA splatting, Zwicker et al. 2001): each Gaussian is a quad of four vertices that spans its ellipse on the
screen up to where its alpha falls below MIN_ALPHA; quads come far first and are blended premultiplied, in display
values, as in training. Beside the colour their distance is blended the same way, and which are of a selected avatar.
Vertices carry a number only; what belongs to a Gaussian lies in textures (splat_cloud), because Blender's Python can
neither fill instance attributes nor change a vertex buffer in place.

Overlay: one triangle strip lays that picture over the scene at the blended distance, so the scene's depth buffer hides
what is behind other objects, pixel by pixel, and later overlays are hidden by the avatar. Selected avatars get a rim.
"""

from __future__ import annotations

import gpu

# The rasterizer's own (cuda_ext/include/blendsplat/layout.h).
LOW_PASS = 0.3  # added to the covariance on the screen, px^2
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.99
FRUSTUM_MARGIN = 0.3  # the projection is linearised at most this part of the field of view outside the picture

NEAREST = 0.01  # metres before a perspective eye from which Gaussians are drawn, as the engine's rasterizer does
TEXELS = 2048  # width of the textures that hold one texel a Gaussian
VISIBLE = 0.004  # alpha of the blended picture below which it has no distance

_SPLAT_VERTEX = """
vec4 fetch(sampler2D data, int number) { return texelFetch(data, ivec2(number % TEXELS, number / TEXELS), 0); }

void main()
{
  int number = int(vertex_number);
  int corner = number & 3;
  int gaussian = int(fetch(far_first, number >> 2).r);
  vec4 place = fetch(places, gaussian);  /* position, opacity */
  vec3 mean = (view * vec4(place.xyz, 1.0)).xyz;  /* OpenGL's camera: it looks along -z */
  distance_ = -mean.z;
  offset = vec2(0.0);
  conic = vec3(0.0);
  paint = vec4(0.0);
  chosen = 0.0;
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);  /* outside: nothing is drawn */
  bool in_range = distance_ > frame.z && distance_ < frame.w;
  if (!in_range || !(place.w > MIN_ALPHA)) {
    return;
  }

  vec4 q = fetch(turns, gaussian);
  q /= length(q);
  vec3 turned = 2.0 * q.yzw;
  vec3 square = turned * q.yzw;
  float xy = turned.x * q.z, xz = turned.x * q.w, yz = turned.y * q.w;
  vec3 wise = turned * q.x;
  mat3 axes = mat3(
      1.0 - square.y - square.z, xy + wise.z, xz - wise.y,
      xy - wise.z, 1.0 - square.x - square.z, yz + wise.x,
      xz + wise.y, yz - wise.x, 1.0 - square.x - square.y);
  vec4 size = fetch(extents, gaussian);  /* standard deviations; 1: of a selected avatar */
  vec3 extent = size.xyz;
  mat3 spread = mat3(view) * axes;
  spread = mat3(spread[0] * extent.x, spread[1] * extent.y, spread[2] * extent.z);

  /* Pixels for a step to the side, and how that changes with the distance. */
  float nearness = orthographic == 1 ? 1.0 : 1.0 / distance_;
  vec2 scale = lens.xy * 0.5 * frame.xy * nearness;
  vec2 slope = orthographic == 1 ? vec2(0.0) : clamp(mean.xy * nearness, bounds.xy, bounds.zw);
  vec3 deep = vec3(spread[0].z, spread[1].z, spread[2].z);
  vec3 across = scale.x * (vec3(spread[0].x, spread[1].x, spread[2].x) + slope.x * deep);
  vec3 up = scale.y * (vec3(spread[0].y, spread[1].y, spread[2].y) + slope.y * deep);

  float xx = dot(across, across), yy = dot(up, up), mixed = dot(across, up);
  vec3 normal = cross(across, up);
  /* A sum of squares: a needle does not lose it to cancellation. */
  float determinant = dot(normal, normal) + LOW_PASS * (xx + yy) + LOW_PASS * LOW_PASS;
  xx += LOW_PASS;
  yy += LOW_PASS;
  float half_gap = length(vec2(0.5 * (xx - yy), mixed));
  float longest = 0.5 * (xx + yy) + half_gap;
  vec2 along = xx > yy ? vec2(longest - yy, mixed) : vec2(mixed, longest - xx);
  along = half_gap < 1e-9 * longest ? vec2(1.0, 0.0) : normalize(along);
  float reach = sqrt(2.0 * log(min(place.w, 1.0) / MIN_ALPHA));
  vec2 side = vec2((corner & 1) * 2 - 1, (corner >> 1) * 2 - 1) * reach;
  offset = side.x * sqrt(longest) * along + side.y * sqrt(determinant / longest) * vec2(-along.y, along.x);
  conic = vec3(yy, -mixed, xx) / determinant;
  paint = vec4(fetch(colors, gaussian).rgb, place.w);
  chosen = size.w;
  vec2 middle = lens.xy * mean.xy * nearness + (orthographic == 1 ? lens.zw : -lens.zw);
  gl_Position = vec4(middle + offset * 2.0 / frame.xy, 0.0, 1.0);
}
"""

_SPLAT_FRAGMENT = """
void main()
{
  float power = 0.5 * (conic.x * offset.x * offset.x + conic.z * offset.y * offset.y) + conic.y * offset.x * offset.y;
  float alpha = min(paint.a * exp(-power), MAX_ALPHA);
  if (alpha < MIN_ALPHA) {
    discard;
  }
  picture = vec4(paint.rgb * alpha, alpha);
  distances = vec4(distance_ * alpha, chosen * alpha, 0.0, alpha);
}
"""

_OVERLAY_VERTEX = """
void main()
{
  where = 0.5 * corner + 0.5;
  gl_Position = vec4(corner, 0.0, 1.0);
}
"""

_OVERLAY_FRAGMENT = """
vec3 light(vec3 shown)  /* IEC 61966-2-1 */
{
  return mix(shown / 12.92, pow((shown + 0.055) / 1.055, vec3(2.4)), greaterThan(shown, vec3(0.04045)));
}

bool inside(vec2 place) { return texture(distances, place).g > 0.5; }

bool at_rim(vec2 place)
{
  vec2 step = 2.0 / vec2(textureSize(distances, 0));
  return inside(place) && !(inside(place + vec2(step.x, 0.0)) && inside(place - vec2(step.x, 0.0)) &&
                            inside(place + vec2(0.0, step.y)) && inside(place - vec2(0.0, step.y)));
}

void main()
{
  vec4 seen = texture(picture, where);
  vec4 blended = texture(distances, where);
  if (background.a > 0.5) {  /* nothing else is in the picture: blended in display values, as in training */
    result = vec4(light(max(seen.rgb + (1.0 - seen.a) * background.rgb, 0.0)), 1.0);
    gl_FragDepth = 1.0;
    return;
  }
  if (seen.a < VISIBLE) {
    discard;
  }
  float z = -blended.r / max(blended.a, 1e-6);
  float depth = (clip.x * z + clip.y) / (clip.z * z + clip.w);
  gl_FragDepth = clamp(0.5 * depth + 0.5, 0.0, 1.0);
  /* The target blends light: as does everything that Blender draws over its views. */
  result = vec4(light(max(seen.rgb / seen.a, 0.0)), 1.0) * seen.a * strength;
  if (outline.a > 0.5 && at_rim(where)) {
    result = vec4(light(outline.rgb), 1.0);
  }
}
"""


def splats() -> gpu.types.GPUShader:
    """The splats' program. Raises when the driver cannot build it.

    Uniforms: view (mat4); lens (P00 and P11 of the projection, its shift in x and y); bounds (the lowest x and y, the
    highest x and y of tan(angle) for the projection's slope); frame (width and height in px, nearest, farthest distance
    drawn); orthographic (0 or 1).
    """
    info = _info()
    info.push_constant("MAT4", "view")
    for name in ("lens", "bounds", "frame"):
        info.push_constant("VEC4", name)
    info.push_constant("INT", "orthographic")
    info.vertex_in(0, "FLOAT", "vertex_number")
    for slot, name in enumerate(("places", "turns", "extents", "colors", "far_first")):
        info.sampler(slot, "FLOAT_2D", name)
    passed = gpu.types.GPUStageInterfaceInfo("blendsplat_splat")
    passed.smooth("VEC2", "offset")
    passed.flat("VEC3", "conic")
    passed.flat("VEC4", "paint")
    passed.flat("FLOAT", "distance_")
    passed.flat("FLOAT", "chosen")
    info.vertex_out(passed)
    info.fragment_out(0, "VEC4", "picture")
    info.fragment_out(1, "VEC4", "distances")
    info.vertex_source(_SPLAT_VERTEX)
    info.fragment_source(_SPLAT_FRAGMENT)
    return gpu.shader.create_from_info(info)


def overlay() -> gpu.types.GPUShader:
    """The overlay's program. Uniforms: clip (P22, P23, P32, P33 of the projection), strength (0..1), background
    (display-referred RGB, 1: the picture fills the view over this colour; 0: it lies over the scene), outline
    (display-referred RGB around selected avatars, 1; 0: none).
    Raises when the driver cannot build it."""
    info = _info()
    info.push_constant("VEC4", "clip")
    info.push_constant("VEC4", "background")
    info.push_constant("VEC4", "outline")
    info.push_constant("FLOAT", "strength")
    info.vertex_in(0, "VEC2", "corner")
    info.sampler(0, "FLOAT_2D", "picture")
    info.sampler(1, "FLOAT_2D", "distances")
    passed = gpu.types.GPUStageInterfaceInfo("blendsplat_overlay")
    passed.smooth("VEC2", "where")
    info.vertex_out(passed)
    info.fragment_out(0, "VEC4", "result")
    if hasattr(info, "depth_write"):
        info.depth_write("ANY")
    info.vertex_source(_OVERLAY_VERTEX)
    info.fragment_source(_OVERLAY_FRAGMENT)
    return gpu.shader.create_from_info(info)


def _info() -> gpu.types.GPUShaderCreateInfo:
    info = gpu.types.GPUShaderCreateInfo()
    info.define("TEXELS", str(TEXELS))
    for name in ("LOW_PASS", "MIN_ALPHA", "MAX_ALPHA", "VISIBLE"):
        info.define(name, repr(float(globals()[name])))
    return info
