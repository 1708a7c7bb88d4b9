#pragma once

namespace strobe {

// What the portable kernels are compiled for. sm75 has neither cp.async nor bf16 nor products of
// depth 16.
enum class PortableArch : unsigned char { sm75, sm80 };

// How the forward kernel cuts the scores. A warp owns block_q / warps rows, 16 or 32: at 32, each
// fragment of keys or values that it reads from shared memory serves two products.
struct FlashForwardTile {
  int block_q, block_k;  // rows and columns of a tile of scores
  int warps;
  int stages;                 // tiles of keys and values in shared memory
  int blocks_per_sm;          // that registers are budgeted for
  bool queries_in_registers;  // else their fragments are read from shared memory for every tile
  int drawn_ahead;            // groups of 32 keys whose dropout is drawn while S is made
  int key_parts;              // S is made in: the maxima of one are found beside the next one's
};

// On an H100 at T = 4096, full, what else was close (without dropout, with it):
//   D = 64   queries the other way −3%, −4%; S in one part −2%, −3%; tiles of 128 × 128 −5%, −12%
//   D = 128  S in two parts −5%, −2%; tiles of 64 × 64 −19%, −3%
constexpr FlashForwardTile flash_forward_tile(int head_dim, bool has_dropout, PortableArch arch) {
  if (arch == PortableArch::sm75) {  // 64 KiB of shared memory
    if (head_dim <= 64) return {128, 64, 4, 1, 2, false, 1, 1};
    if (head_dim <= 128) return {128, 32, 4, 1, 1, false, 1, 1};
    return {64, 32, 4, 1, 1, false, 1, 1};
  }
  if (head_dim <= 64) return {128, 64, 4, 2, 2, has_dropout, 2, 2};
  if (head_dim <= 128) return {128, 64, 4, 2, 2, false, 1, 1};
  return {64, 32, 4, 2, 2, false, 1, 1};
}

// The tile of the f32 kernel. Up to D = 128 it takes at most 64 KiB of shared memory.
struct FlashForwardFmaTile {
  int block_q, block_k;
};

constexpr FlashForwardFmaTile flash_forward_fma_tile(int head_dim) {
  return {head_dim <= 128 ? 64 : 32, head_dim <= 64 ? 64 : 32};
}

// Shared memory of a block of the forward kernel. In f32, P takes the place of the keys.
constexpr int flash_forward_shared_bytes(bool is_16_bit, int head_dim, bool has_dropout,
                                         PortableArch arch) {
  if (is_16_bit) {
    const FlashForwardTile tile = flash_forward_tile(head_dim, has_dropout, arch);
    return (tile.block_q + 2 * tile.stages * tile.block_k) * head_dim * 2;
  }
  const FlashForwardFmaTile tile = flash_forward_fma_tile(head_dim);
  const int keys_or_probs =
      head_dim > tile.block_q ? tile.block_k * head_dim : tile.block_k * tile.block_q;
  return (tile.block_q * head_dim + keys_or_probs + tile.block_k * head_dim) * 4;
}

}  // namespace strobe
