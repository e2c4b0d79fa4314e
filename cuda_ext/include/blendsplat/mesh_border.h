// SPDX-License-Identifier: Apache-2.0
// Where a silhouette passes between two neighbouring pixels' centres, how much of one pixel the other therefore gives its
// values to, and the derivative by the silhouette's ends. silhouettes.py says why, and is what this is held to.
#pragma once

#include "blendsplat/mesh_picture.h"

BS_BEGIN

constexpr int kLongestWalk = 8;  // faces between two pixel centres that are looked through for the silhouette
constexpr float kMiddle = 1e-30f;  // a mix of a border in the very middle: it mixes nothing, but has a derivative

// Two neighbouring pixels, the second to the right of the first or below it.
struct PixelPair {
  int64_t image, first, second;    // pixels of all images
  int column, row;                 // of the first
  bool horizontal;
};

BS_FN PixelPair pair_at(const MeshArrays& mesh, int64_t image, int column, int row, bool horizontal) {
  const int64_t first = (image * mesh.height + row) * mesh.width + column;
  return {image, first, first + (horizontal ? 1 : mesh.width), column, row, horizontal};
}

// Which edge of which face ends the nearer surface between the pixels of a pair; face -1 where none does.
struct Border {
  int64_t face;
  int corner;                      // opposite the edge
  bool first_nearer;
  double reach;                    // from the middle between the centres towards the farther pixel, -1/2 .. 1/2
  double share, slope;             // how far along the edge it is met, and how it leans there
};

// Twice the signed area of three places on the screen.
BS_FN double area_of(const Corner& a, const Corner& b, const Corner& c) { return edge_function(a, b, c.x, c.y); }

// Whether no face lies beyond the edge opposite a corner on the screen.
BS_FN bool is_silhouette(const MeshPicture& p, const Corner* screen, int64_t face, int corner) {
  const int64_t beyond = p.neighbour_vertices[face * 3 + corner];
  if (beyond < 0) return true;
  const int32_t* c = p.indices + face * 3;
  const Corner &a = screen[c[(corner + 1) % 3]], &b = screen[c[(corner + 2) % 3]];
  return area_of(a, b, screen[c[corner]]) * area_of(a, b, screen[beyond]) > 0.0;
}

// From the face that the nearer pixel shows the walk goes from face to face towards the other pixel, until an edge has no
// face beyond it or the face is reached that the other pixel shows. An edge is met by pairs along x and along y; only
// those that it crosses steeply count, else what it covers would count twice.
BS_FN Border find_border(const MeshPicture& p, const PixelPair& pair) {
  const int32_t first = p.face_ids[pair.first], second = p.face_ids[pair.second];
  Border border = {-1, 0, first >= 0 && (second < 0 || p.depth[pair.first] <= p.depth[pair.second]), 0.0, 0.0, 0.0};
  if (first == second) return border;
  const Corner* screen = screen_of(p, pair.image);
  const double ahead = border.first_nearer ? 1.0 : -1.0;
  const bool at_first = border.first_nearer;
  const double x = pair.column + (pair.horizontal && !at_first ? 1.5 : 0.5), y = pair.row + (!pair.horizontal && !at_first ? 1.5 : 0.5);
  int64_t face = at_first ? first : second;
  const int64_t goal = at_first ? second : first;
  for (int step = 0; step < kLongestWalk; ++step) {
    double along[3], across[3];
    for (int i = 0; i < 3; ++i) {
      const Corner& c = screen[p.indices[face * 3 + i]];
      along[i] = (pair.horizontal ? c.x - x : c.y - y) * ahead;
      across[i] = pair.horizontal ? c.y - y : c.x - x;
    }
    double best = -1.0;
    int corner = -1;
    for (int i = 0; i < 3; ++i) {
      const int a = (i + 1) % 3, b = (i + 2) % 3;
      if ((across[a] > 0.0) == (across[b] > 0.0)) continue;
      const double t = (along[a] * across[b] - along[b] * across[a]) / (across[b] - across[a]);
      if (t > best) {
        best = t;
        corner = i;
      }
    }
    if (!(best >= 0.0 && best <= 1.0)) return border;
    if (is_silhouette(p, screen, face, corner)) {
      const int a = (corner + 1) % 3, b = (corner + 2) % 3;
      const double run = along[b] - along[a], rise = across[b] - across[a];
      if (pair.horizontal ? fabs(rise) < fabs(run) : fabs(rise) <= fabs(run)) return border;
      border.face = face;
      border.corner = corner;
      border.reach = best - 0.5;
      border.share = -across[a] / rise;
      border.slope = run / rise * ahead;
      return border;
    }
    face = p.neighbour_faces[face * 3 + corner];
    if (face < 0 || face == goal) return border;
  }
  return border;
}

// What share of one pixel of a pair the other gives its value to: of the second where positive, of the first where
// negative, 0 without a border. The pixels' common border is at reach 0: a surface that reaches beyond it covers part of
// the far pixel, one that ends before it leaves part of the near pixel to what is behind.
BS_FN float mix_of_pair(const Border& border) {
  if (border.face < 0) return 0.0f;
  const float reach = border.reach >= 0.0 ? maximum(static_cast<float>(border.reach), kMiddle)
                                          : minimum(static_cast<float>(border.reach), -kMiddle);
  return border.first_nearer ? reach : -reach;
}

BS_FN void find_mixes(const MeshPicture& p, int64_t image, int column, int row) {
  const int64_t pixel = (image * p.height + row) * p.width + column;
  p.mixes[pixel * 2] = column + 1 < p.width ? mix_of_pair(find_border(p, pair_at(p, image, column, row, true))) : 0.0f;
  p.mixes[pixel * 2 + 1] = row + 1 < p.height ? mix_of_pair(find_border(p, pair_at(p, image, column, row, false))) : 0.0f;
}

// A pixel's shares in its right, left, lower and upper neighbour.
struct Mixing {
  float taken[4];                  // of the neighbour's value in this pixel
  float given[4];                  // of this pixel's value in the neighbour
  int64_t neighbours[4];
  float own;                       // of its own value in this pixel
  bool any;
};

BS_FN Mixing mixing_at(const MeshPicture& p, int64_t pixel, int column, int row) {
  const int64_t below = p.width;
  const float onto_second[4] = {p.mixes[pixel * 2], column > 0 ? -p.mixes[(pixel - 1) * 2] : 0.0f, p.mixes[pixel * 2 + 1],
                                row > 0 ? -p.mixes[(pixel - below) * 2 + 1] : 0.0f};
  const int64_t steps[4] = {1, -1, below, -below};
  Mixing m;
  m.own = 1.0f;
  m.any = false;
  for (int i = 0; i < 4; ++i) {
    m.given[i] = onto_second[i] > kMiddle ? onto_second[i] : 0.0f;
    m.taken[i] = onto_second[i] < -kMiddle ? -onto_second[i] : 0.0f;
    m.neighbours[i] = pixel + steps[i];
    m.own -= m.taken[i];
    m.any = m.any || onto_second[i] > kMiddle || onto_second[i] < -kMiddle;
  }
  return m;
}

BS_END
