#pragma once

#include "strobe/core/check.h"
#include "strobe/core/mapped_file.h"

namespace strobe {

// What parse(all bytes of the file, as text) returns; an Error out of it names the file.
template <class Parse>
auto parse_file(const MappedFile& file, const Parse& parse) {
  try {
    return parse(file.text());
  } catch (const Error& error) {
    throw Error(fmt::format("cannot read '{}': {}", file.path(), error.what()), error.where());
  }
}

}  // namespace strobe
