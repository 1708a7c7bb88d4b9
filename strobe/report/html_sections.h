#pragma once

#include <map>
#include <string>
#include <vector>

#include "strobe/report/html_messages.h"
#include "strobe/report/html_writer.h"
#include "strobe/report/results_file.h"

namespace strobe {

// A sentence of the reading in plain words.
struct Sentence {
  std::string text;
  bool is_bad = false;  // something failed, or does not add up
};

// One part of the page, under a heading of its own.
struct Section {
  std::string title;
  std::string about;              // a line under the title
  Markup tiles;                   // the figures to see first
  std::vector<Sentence> reading;  // what the figures say
  Markup body;
};

// The same name has the same colour everywhere: standard attention the first, flash the second (of
// several on a GPU, the one that comes first), others the next ones as they come.
class Palette {
 public:
  size_t colour_of(const std::string& name);

 private:
  std::string gpu_flash_;
  std::map<std::string, size_t> others_;
};

// The sections, each from rows alone; those without rows have no title.
Section training_section(const ResultsFile& file, const Words& say, Palette& palette);
Section sweep_section(const ResultsFile& file, const Words& say, Palette& palette);
Section generation_section(const ResultsFile& file, const Words& say, Palette& palette);
Section mask_section(const ResultsFile& file, const Words& say);
Section attention_map_section(const ResultsFile& file, const Words& say);
Section bench_section(const std::vector<ResultsFile>& files, const Words& say, Palette& palette);
// Where the figures come from and how to get them again.
Section origin_section(const std::vector<ResultsFile>& files, const Words& say);

// What the runs of one training or comparison say.
std::vector<Sentence> training_reading(const ResultsFile& file, const Words& say);
// The figures to see first, as <dl class="tiles">.
Markup training_tiles(const ResultsFile& file, const Words& say);

// The model, the batch and the machine in a line: the file's own title in English where it has one.
std::string setting_of(const ResultsFile& file, const Words& say);

// <ul class="reading">
Markup reading_markup(const std::vector<Sentence>& reading);

// "2.0×10⁻⁸", "0"
std::string power_text(double value);
// "1.81"
std::string factor_text(double value);

}  // namespace strobe
