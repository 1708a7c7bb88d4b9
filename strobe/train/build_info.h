#pragma once

namespace strobe {

// What the build knows of itself; defined in a source file that cmake/build_info.cmake writes.
extern const char* const kVersion;    // "0.1.0"
extern const char* const kGitHash;    // "775a20d", "775a20d+changes", or "unknown" outside git
extern const char* const kBuildType;  // "Release"

}  // namespace strobe
