#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace strobe {

// XXH64 with seed 0 (Collet, "xxHash fast digest algorithm", version 0.1.1), which `xxhsum -H64`
// computes too: finds accidental damage at the speed of memory, and does not resist intent.
uint64_t checksum(std::span<const std::byte> bytes);

// Of a file's content. Throws Error when it cannot be read.
uint64_t checksum_of_file(const std::string& path);

}  // namespace strobe
