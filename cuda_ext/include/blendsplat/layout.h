// SPDX-License-Identifier: Apache-2.0
// The constants of the rasterizer and the layout of the buffers that its stages hand to each other, named once.
#pragma once

#include "blendsplat/target.h"

BS_BEGIN

constexpr float kLowPass = 0.3f;            // added to the screen covariance's diagonal, px^2
constexpr float kAlphaMax = 0.99f;          // a single Gaussian never hides what is behind it completely
constexpr float kAlphaMin = 1.0f / 255.0f;  // contributions below one grey level are skipped
constexpr float kTransmittanceStop = 1e-4f; // stop before the Gaussian that would bring T below this
constexpr float kFrustumMargin = 0.3f;      // the Jacobian is taken at most this many tan(half field) outside the image
constexpr float kFarthest = 1e15f;          // farther away, 1 / z^2 underflows and gradients with it
constexpr float kLongest = 1e30f;           // bound of a quaternion's squared length and of its inverse, likewise
constexpr float kWidest = 1e30f;            // bound of the product of the screen variances, px^4; the square root of overflow
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kTwoLn2 = 1.3862943611198906f;

// One projected Gaussian: sixteen floats, one cache line. "Box" is the rectangle of tiles that its ellipse may touch,
// two 16-bit numbers in each of two slots; x1 < x0 marks a Gaussian that is not drawn.
enum RecordSlot {
  kMeanX, kMeanY,                        // pixels
  kConicA, kConicB, kConicC,             // inverse covariance [a b; b c], scaled so that alpha = o * 2^(a dx^2 + b dx dy + c dy^2)
  kOpacity,
  kRed, kGreen, kBlue, kDepth,
  kSpanP, kSpanQ, kSpanSlope, kSpanTurn, // the ellipse's width at a height, see ellipse.h
  kBoxX, kBoxY,                          // x0 | x1 << 16, y0 | y1 << 16
  kRecordSize
};

// What the backward blend leaves for each Gaussian: moments of v = dL/d(log alpha) about its centre, then dL/d(colour).
enum GradientSlot {
  kSum, kSumX, kSumY, kSumXX, kSumXY, kSumYY,
  kGradRed, kGradGreen, kGradBlue, kGradDepth,
  kGradientSize = 16                     // padded to a cache line: neighbours in memory belong to different threads
};

// One pinhole camera, world to camera, OpenCV axes; make_camera builds it from viewmat and K.
struct Camera {
  float rotation[9];
  float translation[3];
  float fx, fy, cx, cy;
  float left, right, up, down;           // bounds of x/z and y/z at which the Jacobian is taken
};

BS_FN Camera make_camera(const float* viewmat, const float* K, int width, int height) {
  Camera camera;
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) camera.rotation[row * 3 + column] = viewmat[row * 4 + column];
    camera.translation[row] = viewmat[row * 4 + 3];
  }
  camera.fx = K[0];
  camera.fy = K[4];
  camera.cx = K[2];
  camera.cy = K[5];
  const float margin_x = kFrustumMargin * 0.5f * static_cast<float>(width) / camera.fx;
  const float margin_y = kFrustumMargin * 0.5f * static_cast<float>(height) / camera.fy;
  camera.left = -camera.cx / camera.fx - margin_x;
  camera.right = (static_cast<float>(width) - camera.cx) / camera.fx + margin_x;
  camera.up = -camera.cy / camera.fy - margin_y;
  camera.down = (static_cast<float>(height) - camera.cy) / camera.fy + margin_y;
  return camera;
}

BS_END
