#pragma once

#include "strobe/report/html_writer.h"

namespace strobe {

// The page's <style>: everything that a report looks like. Light and dark follow the reader's
// setting; print is always light.
Markup report_style();

}  // namespace strobe
