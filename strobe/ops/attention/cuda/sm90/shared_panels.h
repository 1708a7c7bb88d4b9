#pragma once

namespace strobe {

// Tiles of 16-bit elements lie in shared memory in panels of 64 columns, one after the other: rows
// of 128 bytes with the 128-byte swizzle.
constexpr int kPanelColumns = 64;
constexpr int panels_of(int head_dim) { return (head_dim + kPanelColumns - 1) / kPanelColumns; }

constexpr int kMostSharedBytes = 227 << 10;  // that a block may ask for (sm_90)

}  // namespace strobe
