// SPDX-License-Identifier: Apache-2.0
// The number that the compiled modules and the Python beside them must agree on: one more whenever a binding's arguments or
// a buffer's layout change. KERNEL_INTERFACE in blendsplat/splatting/interface.py is the other half.
#pragma once

namespace blendsplat {

constexpr int kInterface = 6;

}  // namespace blendsplat
