#include "strobe/train/metrics_file.h"

#include <filesystem>
#include <string_view>

#include "strobe/core/atomic_file.h"
#include "strobe/core/json.h"
#include "strobe/core/mapped_file.h"

namespace strobe {
namespace {

bool is_kept(std::string_view line, int64_t step) {
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object() || row.value("kind", Json()) == "summary") return false;
  const Json of_step = row.value("step", Json());
  return !of_step.is_number() || of_step <= step;
}

}  // namespace

void rewind_metrics(const std::string& path, int64_t step) {
  if (!std::filesystem::exists(path)) return;
  const MappedFile old(path);
  std::string_view text(reinterpret_cast<const char*>(old.bytes().data()), old.bytes().size());
  AtomicFile rewound(path);
  for (size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1)) {
    if (is_kept(text.substr(0, end), step)) rewound.write(text.substr(0, end + 1));
  }
  rewound.commit();
}

}  // namespace strobe
