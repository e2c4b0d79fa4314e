// SPDX-License-Identifier: Apache-2.0
// Chooses, once, the best instruction set of this processor among those that were compiled.
#pragma once

#include "operations.h"
#include "training.h"
#include "transformer.h"

namespace blendsplat {

struct Operations {
  const char* name;
  decltype(&generic::project) project;
  decltype(&generic::emit_pairs) emit_pairs;
  decltype(&generic::blend_forward) blend_forward;
  decltype(&generic::blend_backward) blend_backward;
  decltype(&generic::project_backward) project_backward;
  decltype(&generic::pixel_weights) pixel_weights;
  decltype(&generic::exponential2_array) exponential2_array;
  decltype(&generic::adam) adam;
  decltype(&generic::image_loss) image_loss;
  decltype(&generic::image_loss_sizes) image_loss_sizes;
  decltype(&generic::bind_forward) bind_forward;
  decltype(&generic::bind_backward) bind_backward;
  decltype(&generic::bind_scratch) bind_scratch;
  decltype(&generic::tangent_frames) tangent_frames;
  decltype(&generic::tangent_frames_backward) tangent_frames_backward;
  decltype(&generic::pose_triangles) pose_triangles;
  decltype(&generic::play) play;
  decltype(&generic::pose_head) pose_head;
  decltype(&generic::ceiling) ceiling;
  decltype(&generic::dense) dense;
  decltype(&generic::mlp) mlp;
  decltype(&generic::attention) attention;
};

// The set in use. BLENDSPLAT_CPU=generic|avx2|avx512 in the environment asks for a lesser one.
const Operations& operations();

// Uses the named set from now on; false if it was not compiled or this processor lacks it. For tests.
bool use_operations(const char* name);

}  // namespace blendsplat
