// SPDX-License-Identifier: Apache-2.0
// What a pixel of a mesh picture shows, and the gradient of all pixels of a face by the face's corners: of the points inside
// it, and of the silhouettes that its edges are.
//
// With l the shares of the corners in a pixel on the screen and q = 1/z, depth is 1 / sum(l q) and the barycentrics are
// b = l q depth. Moving corner k moves the face under the pixel as moving the pixel the other way by l_k would, so a face
// needs no more of its pixels than the sums of l_k dL/d(l_i q_i).
#pragma once

#include "blendsplat/mesh_border.h"
#include "blendsplat/mesh_vertex.h"

BS_BEGIN

BS_FN float attribute_at(const MeshPicture& p, int64_t image, int64_t pixel, int64_t channel) {
  const int32_t face = p.face_ids[pixel];
  if (face < 0) return 0.0f;
  float value = 0.0f;
  for (int i = 0; i < 3; ++i) value += p.barycentrics[pixel * 3 + i] * attributes_of(p, image, p.indices[face * 3 + i])[channel];
  return value;
}

BS_FN float covered(const MeshPicture& p, int64_t pixel) { return p.face_ids[pixel] >= 0 ? 1.0f : 0.0f; }

// A pixel's interpolated normal: its length, and 1 or -1 to turn it towards the camera.
struct PixelNormal {
  Vector3d sum;
  double length, side;
};

BS_FN PixelNormal pixel_normal(const MeshPicture& p, int64_t image, int64_t pixel, int column, int row, const int32_t* corners) {
  PixelNormal n = {{0.0, 0.0, 0.0}, 0.0, 1.0};
  for (int i = 0; i < 3; ++i) {
    const float* v = p.normals + (image * p.vertices + corners[i]) * 3;
    n.sum = n.sum + static_cast<double>(p.barycentrics[pixel * 3 + i]) * Vector3d{v[0], v[1], v[2]};
  }
  const float* K = p.Ks + image * 9;
  const Vector3d ray = {(column + 0.5 - K[2]) / K[0], (row + 0.5 - K[5]) / K[4], 1.0};
  n.length = sqrt(dot(n.sum, n.sum));
  n.side = dot(n.sum, ray) > 0.0 ? -1.0 : 1.0;
  return n;
}

BS_FN void show_pixel(const MeshPicture& p, const MeshPlanes& out, int64_t image, int column, int row) {
  const int64_t pixel = (image * p.height + row) * p.width + column;
  const int32_t face = p.face_ids[pixel];
  float* values = out.image + pixel * p.channels;
  float* normal = out.normals + pixel * 3;
  if (face >= 0) {
    const int32_t* corners = p.indices + static_cast<int64_t>(face) * 3;
    const float* b = p.barycentrics + pixel * 3;
    const float* rows[3];
    for (int i = 0; i < 3; ++i) rows[i] = attributes_of(p, image, corners[i]);
    for (int64_t c = 0; c < p.channels; ++c) values[c] = b[0] * rows[0][c] + b[1] * rows[1][c] + b[2] * rows[2][c];
    const PixelNormal n = pixel_normal(p, image, pixel, column, row, corners);
    const Vector3d unit = (n.length > kShortest ? n.side / n.length : 0.0) * n.sum;
    normal[0] = static_cast<float>(unit.x);
    normal[1] = static_cast<float>(unit.y);
    normal[2] = static_cast<float>(unit.z);
    out.alpha[pixel] = 1.0f;
  } else {
    for (int64_t c = 0; c < p.channels; ++c) values[c] = 0.0f;
    for (int i = 0; i < 3; ++i) normal[i] = 0.0f;
    out.alpha[pixel] = 0.0f;
  }
  const Mixing mixing = mixing_at(p, pixel, column, row);
  if (!mixing.any) return;
  const float alpha = out.alpha[pixel];
  for (int i = 0; i < 4; ++i) {
    if (mixing.taken[i] > 0.0f) out.alpha[pixel] += mixing.taken[i] * (covered(p, mixing.neighbours[i]) - alpha);
  }
  for (int64_t c = 0; c < p.channels; ++c) {
    const float value = values[c];
    for (int i = 0; i < 4; ++i) {
      if (mixing.taken[i] > 0.0f) values[c] += mixing.taken[i] * (attribute_at(p, image, mixing.neighbours[i], c) - value);
    }
  }
}

// Gradient of a channel of a pixel before it was mixed.
BS_FN float before_mixing(const MeshPicture& p, const float* grad_image, const Mixing& mixing, int64_t pixel, int64_t channel) {
  float grad = grad_image[pixel * p.channels + channel];
  if (!mixing.any) return grad;
  grad *= mixing.own;
  for (int i = 0; i < 4; ++i) {
    if (mixing.given[i] > 0.0f) grad += mixing.given[i] * grad_image[mixing.neighbours[i] * p.channels + channel];
  }
  return grad;
}

// The sums over a face's pixels that its corners' gradients follow from.
struct FaceSums {
  double shares[3][3];             // [k][i]: l_k dL/d(l_i q_i)
  double normals[3][3];            // by corner, camera axes
  double places[3][2];             // by corner, pixels: of silhouettes alone
};

BS_FN void add_pixel(const MeshPicture& p, const MeshBackward& b, const Triangle& t, int64_t image, int64_t face, int column, int row,
                     FaceSums& sums) {
  const int64_t pixel = (image * p.height + row) * p.width + column;
  const int32_t* corners = p.indices + face * 3;
  const float* weights = p.barycentrics + pixel * 3;
  double by_weight[3] = {};
  if (b.grad_image && p.channels > 0) {
    const Mixing mixing = mixing_at(p, pixel, column, row);
    for (int64_t c = 0; c < p.channels; ++c) {
      const float grad = before_mixing(p, b.grad_image, mixing, pixel, c);
      for (int i = 0; i < 3; ++i) by_weight[i] += grad * attributes_of(p, image, corners[i])[c];
    }
  }
  if (b.grad_normals) {
    const PixelNormal n = pixel_normal(p, image, pixel, column, row, corners);
    if (n.length > kShortest) {
      const float* g = b.grad_normals + pixel * 3;
      const Vector3d grad = {g[0], g[1], g[2]}, unit = (1.0 / n.length) * n.sum;
      const Vector3d grad_sum = (n.side / n.length) * (grad - dot(unit, grad) * unit);
      for (int i = 0; i < 3; ++i) {
        const float* v = p.normals + (image * p.vertices + corners[i]) * 3;
        by_weight[i] += v[0] * grad_sum.x + v[1] * grad_sum.y + v[2] * grad_sum.z;
        sums.normals[i][0] += weights[i] * grad_sum.x;
        sums.normals[i][1] += weights[i] * grad_sum.y;
        sums.normals[i][2] += weights[i] * grad_sum.z;
      }
    }
  }
  const double depth = p.depth[pixel];
  const double mean = weights[0] * by_weight[0] + weights[1] * by_weight[1] + weights[2] * by_weight[2];
  const double by_depth = b.grad_depth ? b.grad_depth[pixel] * depth : 0.0;
  double shares[3];
  for (int k = 0; k < 3; ++k) shares[k] = weights[k] / (t.corners[k].inverse_z * depth);
  for (int i = 0; i < 3; ++i) {
    const double grad = depth * (by_weight[i] - mean - by_depth);
    for (int k = 0; k < 3; ++k) sums.shares[k][i] += shares[k] * grad;
  }
}

// The gradient of a pair's mix, from the pixel that takes of the other.
BS_FN double mix_gradient(const MeshPicture& p, const MeshBackward& b, int64_t image, const PixelPair& pair, float mix) {
  const int64_t target = mix > 0.0f ? pair.second : pair.first;
  double grad = b.grad_alpha ? b.grad_alpha[target] * (covered(p, pair.first) - covered(p, pair.second)) : 0.0f;
  if (!b.grad_image) return grad;
  for (int64_t c = 0; c < p.channels; ++c) {
    grad += b.grad_image[target * p.channels + c] * (attribute_at(p, image, pair.first, c) - attribute_at(p, image, pair.second, c));
  }
  return grad;
}

// Pairs along one axis whose border is the edge from corner a to corner b: on every line of pixel centres that the edge
// crosses there is one at most, next to where it does; find_border has the last word. Returns whether there were any.
BS_FN bool add_border(const MeshPicture& p, const MeshBackward& b, const Triangle& t, int64_t image, int64_t face, int corner,
                      bool horizontal, FaceSums& sums) {
  const int from = (corner + 1) % 3, to = (corner + 2) % 3;
  const Corner &start = t.corners[from], &end = t.corners[to];
  const double low = horizontal ? start.y : start.x, high = horizontal ? end.y : end.x;
  const double begin = horizontal ? start.x : start.y, way = (horizontal ? end.x : end.y) - begin;
  const int lines = horizontal ? p.height : p.width, places = horizontal ? p.width : p.height;
  const int last = last_pixel(greatest(low, high) + 0.5, lines);
  bool any = false;
  for (int line = first_pixel(least(low, high) - 0.5, lines); line <= last; ++line) {
    const double share = least(greatest((line + 0.5 - low) / (high - low), 0.0), 1.0);
    const double place = begin + share * way - 0.5;
    if (!(place > -2.0 && place < places + 1.0)) continue;
    const int left = static_cast<int>(floor(place));
    for (int first = left - 1; first <= left + 1; ++first) {
      if (first < 0 || first + 1 >= places) continue;
      const PixelPair pair = horizontal ? pair_at(p, image, first, line, true) : pair_at(p, image, line, first, false);
      const float mix = p.mixes[pair.first * 2 + (horizontal ? 0 : 1)];
      if (mix == 0.0f) continue;
      const Border border = find_border(p, pair);
      if (border.face != face || border.corner != corner) continue;
      const double grad = mix_gradient(p, b, image, pair, mix);
      const double weights[2] = {1.0 - border.share, border.share};
      for (int i = 0; i < 2; ++i) {
        double* place_grad = sums.places[i == 0 ? from : to];
        place_grad[horizontal ? 0 : 1] += weights[i] * grad;
        place_grad[horizontal ? 1 : 0] -= weights[i] * border.slope * grad;
      }
      any = true;
    }
  }
  return any;
}

BS_FN bool wants_borders(const MeshBackward& b) { return b.geometry_rows && (b.grad_image || b.grad_alpha); }

// All borders that a face's edges are. A face that no pixel shows may be where the walk ends, too.
BS_FN bool add_borders(const MeshPicture& p, const MeshBackward& b, const Triangle& t, int64_t image, int64_t face, FaceSums& sums) {
  bool any = false;
  for (int corner = 0; corner < 3; ++corner) {
    if (!is_silhouette(p, screen_of(p, image), face, corner)) continue;
    const Corner &start = t.corners[(corner + 1) % 3], &end = t.corners[(corner + 2) % 3];
    const double width = fabs(end.x - start.x), height = fabs(end.y - start.y);
    constexpr double kSlack = 1.0 + 1e-9;  // which way an edge of 45 degrees is steep is find_border's to say
    if (height * kSlack >= width && height > 0.0) any |= add_border(p, b, t, image, face, corner, true, sums);
    if (width * kSlack >= height && width > 0.0) any |= add_border(p, b, t, image, face, corner, false, sums);
  }
  return any;
}

BS_FN void write_geometry(const MeshBackward& b, const Triangle& t, int64_t row, const FaceSums& sums) {
  double places[3][2];
  for (int k = 0; k < 3; ++k) {
    for (int axis = 0; axis < 2; ++axis) places[k][axis] = sums.places[k][axis];
  }
  if (t.area != 0.0) {
    for (int i = 0; i < 3; ++i) {
      const Corner &from = t.corners[(i + 1) % 3], &to = t.corners[(i + 2) % 3];
      const double scale = t.corners[i].inverse_z / t.area, x = (to.y - from.y) * scale, y = (from.x - to.x) * scale;
      for (int k = 0; k < 3; ++k) {
        places[k][0] += x * sums.shares[k][i];
        places[k][1] += y * sums.shares[k][i];
      }
    }
  }
  for (int k = 0; k < 3; ++k) {
    float* out = b.geometry_rows + (row * 3 + k) * kGeometryRow;
    out[0] = static_cast<float>(places[k][0]);
    out[1] = static_cast<float>(places[k][1]);
    out[2] = static_cast<float>(sums.shares[k][k]);
    for (int i = 0; i < 3; ++i) out[3 + i] = static_cast<float>(sums.normals[k][i]);
  }
}

// Whether a pixel may show the face; then t knows where.
BS_FN bool place_face(const MeshPicture& p, int64_t image, int64_t face, Triangle& t) {
  bool in_front = true;
  for (int i = 0; i < 3; ++i) {
    t.corners[i] = screen_of(p, image)[p.indices[face * 3 + i]];
    in_front = in_front && t.corners[i].inverse_z > 0.0;
  }
  const bool has_area = finish_triangle(t, p.width, p.height);
  if (!in_front || !has_area) t.area = 0.0;
  return in_front && has_area;
}

constexpr int kChannelsAtOnce = 4;

BS_FN void face_attributes_backward(const MeshPicture& p, const MeshBackward& b, const Triangle& t, int64_t image, int64_t face) {
  for (int64_t first = 0; first < p.channels; first += kChannelsAtOnce) {
    const int count = p.channels - first < kChannelsAtOnce ? static_cast<int>(p.channels - first) : kChannelsAtOnce;
    double sums[3][kChannelsAtOnce] = {};
    for (int row = t.top; b.grad_image && row <= t.bottom; ++row) {
      for (int column = t.left; column <= t.right; ++column) {
        const int64_t pixel = (image * p.height + row) * p.width + column;
        if (p.face_ids[pixel] != face) continue;
        const Mixing mixing = mixing_at(p, pixel, column, row);
        for (int c = 0; c < count; ++c) {
          const float grad = before_mixing(p, b.grad_image, mixing, pixel, first + c);
          for (int k = 0; k < 3; ++k) sums[k][c] += p.barycentrics[pixel * 3 + k] * grad;
        }
      }
    }
    for (int k = 0; k < 3; ++k) {
      float* out = b.attribute_rows + ((image * p.faces + face) * 3 + k) * p.channels + first;
      for (int c = 0; c < count; ++c) out[c] = static_cast<float>(sums[k][c]);
    }
  }
}

// The rows of one face, and whether it has any; marks (FaceMark) say where to look.
BS_FN void face_backward(const MeshPicture& p, const MeshBackward& b, int64_t image, int64_t face, int marks) {
  const int64_t row = image * p.faces + face;
  Triangle t = {};
  bool shown = false, bordering = false;
  FaceSums sums = {};
  if (place_face(p, image, face, t) && (marks & kShown)) {
    for (int y = t.top; y <= t.bottom; ++y) {
      const int32_t* ids = p.face_ids + (image * p.height + y) * p.width;
      for (int x = t.left; x <= t.right; ++x) {
        if (ids[x] != face) continue;
        shown = true;
        if (b.geometry_rows) add_pixel(p, b, t, image, face, x, y, sums);
      }
    }
  }
  if ((marks & kBordering) && wants_borders(b)) bordering = add_borders(p, b, t, image, face, sums);
  b.seen[row] = shown || bordering;
  if (!shown && !bordering) return;
  if (b.geometry_rows) write_geometry(b, t, row, sums);
  if (!b.attribute_rows) return;
  if (!shown) t.bottom = t.top - 1;
  face_attributes_backward(p, b, t, image, face);
}

BS_END
