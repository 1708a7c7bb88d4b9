#pragma once

#include <string_view>

namespace strobe {

// Every text of the report, once in each language. The English one is also its name in the source
// (html_messages.h); {0}, {1}, … are filled in. Words that come from results files are here too.
struct Translation {
  std::string_view english, traditional_chinese;
};

inline constexpr Translation kTranslations[] = {
    // The page
    {"Attention compared", "注意力實作比較"},
    {"Strobe’s results", "Strobe 測量結果"},
    {"From {0} results files.", "彙整自 {0} 個結果檔。"},
    {"Contents", "目錄"},
    {"Written by strobe report from the results files alone; sentences and charts are computed "
     "from them.",
     "本頁由 strobe report 產生，文字、表格與圖表全部由結果檔的數據計算而來。"},

    // Training: headings and table
    {"Training", "訓練"},
    {"Training, side by side", "訓練：並列比較"},
    {"Training, times without the first step", "訓練（時間不計第一步）"},
    {"implementation", "實作"},
    {"steps", "步數"},
    {"step time, median", "每步時間，中位數"},
    {"step time, mean", "每步時間，平均"},
    {"step time, 10th to 90th percentile", "每步時間，第 10 至 90 百分位數"},
    {"tokens per second", "每秒詞元數"},
    {"attention in a step", "每步的注意力時間"},
    {"attention, share of the time", "注意力佔時間比例"},
    {"peak memory", "峰值記憶體"},
    {"peak memory of the process", "行程的峰值記憶體"},
    {"loss, first step", "損失，第一步"},
    {"loss, mean", "損失，平均"},
    {"loss, last step", "損失，最後一步"},
    {"validation loss, last", "驗證損失，最後一次"},
    {"Against {0}", "與 {0} 相比"},
    {"speed-up of a step", "每步加速倍率"},
    {"speed-up of attention", "注意力加速倍率"},
    {"memory saved", "節省的記憶體"},
    {"attention's memory saved", "注意力節省的記憶體"},
    {"largest loss difference", "損失的最大差異"},
    {"as a share of the loss", "相對於損失"},
    {"as a share, first step", "相對於損失，第一步"},

    // Training: charts
    {"Loss", "損失"},
    {"Where the curves coincide, both compute the same.", "曲線重合之處，兩者的計算結果相同。"},
    {"step", "步"},
    {"training loss", "訓練損失"},
    {"{0}: from {1} to {2}. ", "{0}：從 {1} 到 {2}。"},
    {"{0}, validation", "{0}，驗證"},
    {"How far the losses are apart", "損失之間的差距"},
    {"Steps without a difference are left out.", "差異為零的步不畫出。"},
    {"difference from {0}", "與 {0} 的差異"},
    {"{0}: at most {1}. ", "{0}：最多 {1}。"},
    {"Step time", "每步時間"},
    {"The median; the dark part is attention.", "中位數；深色部分為注意力。"},
    {"attention {0}", "注意力 {0}"},
    {"Peak memory", "峰值記憶體"},
    {"The dark part is attention.", "深色部分為注意力。"},
    {"Time of each step", "各步所需時間"},
    {"milliseconds", "毫秒"},
    {"Median {0}. ", "中位數 {0}。"},

    // Training: figures to see first
    {"speed", "速度"},
    {"after {0} steps", "經過 {0} 步"},
    {"in tensors", "張量所佔"},
    {"{0} against {1}", "{0}，對照 {1}"},
    {"step time with {0}", "{0} 的每步時間"},
    {"peak memory with {0}", "{0} 的峰值記憶體"},
    {"{0}× faster", "{0} 倍速度"},
    {"{0}× slower", "{0} 倍時間"},
    {"the same", "相同"},
    {"{0} less", "減少 {0}"},
    {"{0} more", "增加 {0}"},
    {"{0} of the loss", "損失的 {0}"},

    // Training: the reading
    {"{0} was interrupted: {1}. Its figures are of the steps until then.",
     "{0} 被中斷：{1}。其數據只涵蓋中斷前的步。"},
    {"The record of {0} ends after {1} steps without a closing row: the run was killed, or is "
     "still going on.",
     "{0} 的紀錄在 {1} 步後結束，沒有總結列：程式被強制終止，或仍在執行。"},
    {"{0} failed after {1} steps: {2}.", "{0} 在 {1} 步後失敗：{2}。"},
    {"{0} was asked for and left no row: it did not begin.",
     "{0} 在比較之列，但沒有留下任何紀錄：尚未開始執行。"},
    {"The step times of {0} and {1} cannot be compared.", "{0} 與 {1} 的每步時間無法比較。"},
    {"{0} and {1} took the same time per step, to within {2}: {3} and {4}.",
     "{0} 與 {1} 每步所需時間相同（差異在 {2} 以內）：{3} 與 {4}。"},
    {"{0} was {1}× faster per step than {2}: {3} against {4}.",
     "{0} 每步的速度是 {2} 的 {1} 倍：{3}，對照 {4}。"},
    {"{0} was {1}× slower per step than {2}: {3} against {4}.",
     "{0} 每步所需時間是 {2} 的 {1} 倍，較慢：{3}，對照 {4}。"},
    {" The times of single steps overlap, though (the middle 80%: {0} to {1} and {2} to {3}), so "
     "that another try may give another ratio.",
     "不過兩者單步時間的分布有重疊（中間 80%：{0} 至 {1}，以及 {2} 至 {3}），重測時倍率可能不同。"},
    {"Attention itself took {0} of a step with {1} ({2} of the time) and {3} with {4} ({5}).",
     "就注意力本身而言，使用 {1} 時每步花 {0}（佔 {2}），使用 {4} 時花 {3}（佔 {5}）。"},
    {"The peak memory of {0} is not on record.", "{0} 的峰值記憶體沒有紀錄。"},
    {"Both needed the same memory at the peak, {0}.", "兩者的峰值記憶體相同，皆為 {0}。"},
    {"{0} needed {1} less memory at the peak: {2} against {3}.",
     "{0} 的峰值記憶體少 {1}：{2}，對照 {3}。"},
    {"{0} needed {1} more memory at the peak: {2} against {3}.",
     "{0} 的峰值記憶體多 {1}：{2}，對照 {3}。"},
    {" Of that, attention took {0} and {1}.", "其中注意力分別佔 {0} 與 {1}。"},
    {"The losses of {0} and {1} are the same numbers at all of {2} steps.",
     "{0} 與 {1} 的損失在全部 {2} 步中數值完全相同。"},
    {"The losses of {0} and {1} cannot be compared.", "{0} 與 {1} 的損失無法比較。"},
    {"The losses of {0} and {1} differ by at most {2}, which is {3} of the loss.",
     "{0} 與 {1} 的損失最多相差 {2}，為損失的 {3}。"},
    {"The losses of {0} and {1} differ at the first step already, by {2} of the loss: more than "
     "rounding in {3} explains. One of the two computes something else.",
     "{0} 與 {1} 的損失在第一步就相差損失的 {2}，超出 {3} "
     "捨入誤差所能解釋的範圍：其中之一的計算有誤。"},
    {"The losses of {0} and {1} agree at the first step and part later, by up to {2} of the loss. "
     "Training amplifies rounding, but this is more than is usual in {3}.",
     "{0} 與 {1} 的損失在第一步一致，之後逐漸分開，最多達損失的 "
     "{2}。訓練會放大捨入誤差，但這已超出 "
     "{3} 常見的程度。"},
    {"The losses of {0} and {1} differ by at most {2} ({3} of the loss) over {4} steps, which is "
     "rounding in {5}.",
     "{0} 與 {1} 的損失在 {4} 步中最多相差 {2}（損失的 {3}），屬於 {5} 的捨入誤差。"},
    {"The loss of {0} was {1}.", "{0} 的損失為 {1}。"},
    {"The loss of {0} was {1} at the first step and at the last.",
     "{0} 的損失在第一步與最後一步皆為 {1}。"},
    {"The loss of {0} fell from {1} to {2} in {3} steps.",
     "{0} 的損失在 {3} 步內從 {1} 降到 {2}。"},
    {"The loss of {0} rose from {1} to {2} in {3} steps.",
     "{0} 的損失在 {3} 步內從 {1} 升到 {2}。"},
    {"A step of {0} took {1}, {2} tokens per second.", "{0} 每步需要 {1}，每秒處理 {2} 個詞元。"},
    {"Attention was {0} of the time.", "注意力佔時間的 {0}。"},
    {"At the peak it needed {0} of memory, {1} of that for attention.",
     "峰值記憶體為 {0}，其中注意力佔 {1}。"},
    {"A single step includes the warm-up: its time says little.",
     "只有一步時，時間包含暖機，參考價值有限。"},
    {"No run finished a step.", "沒有任何一次執行完成一步。"},

    // Benchmarks
    {"Benchmarks", "效能測試"},
    {"Each time is a median; several problems are put together by the geometric mean of their "
     "ratios.",
     "時間皆為中位數；多個問題的倍率以幾何平均彙整。"},
    {"All figures of the benchmarks", "效能測試的全部數據"},
    {"{0}: {1} was {2}× faster than {3} ({4}).", "{0}：{1} 的速度是 {3} 的 {2} 倍（{4}）。"},
    {"{0}: {1} was {2}× slower than {3} ({4}).",
     "{0}：{1} 所需時間是 {3} 的 {2} 倍，較慢（{4}）。"},
    {"one problem", "一個問題"},
    {"{0} problems, from {1}× to {2}×", "{0} 個問題，從 {1} 倍到 {2} 倍"},
    {"{0} layers, width {1}", "{0} 層，寬度 {1}"},
    {"dropout {0}", "dropout {0}"},
    {"{0} keys", "{0} 個鍵"},
    {"{0} keys before, {1} after", "前 {0} 個鍵，後 {1} 個鍵"},
    {"length T", "序列長度 T"},
    {"GFLOP/s, more is faster", "GFLOP/s，越高越快"},
    {"matrix product (oneDNN)", "矩陣乘法（oneDNN）"},
    {"{0}: up to {1} GFLOP/s. ", "{0}：最高 {1} GFLOP/s。"},
    {"median", "中位數"},
    {"10th to 90th percentile", "第 10 至 90 百分位數"},
    {"of matrix product", "相對於矩陣乘法"},
    {"memory", "記憶體"},
    {"error", "誤差"},

    // Origin
    {"Where this comes from, and how to repeat it", "來源與重現方式"},
    {"file", "檔案"},
    {"date", "日期"},
    {"machine", "機器"},
    {"program", "程式"},
    {"{0} cores", "{0} 核心"},
    {"{0} threads", "{0} 個執行緒"},
    {"The program had changes that are not in that commit.",
     "當時的程式含有尚未提交（commit）的修改。"},

    // Words of results files
    {"attention", "注意力"},
    {"train", "訓練"},
    {"generate", "文字生成"},
    {"forward", "前向"},
    {"backward", "反向"},
    {"full", "完整"},
    {"causal", "因果"},
    {"window", "滑動視窗"},
    {"weights", "權重"},
    {"gradients", "梯度"},
    {"optimizer", "最佳化器"},
    {"activations", "活化值"},
    {"cache", "鍵值快取"},
    {"workspace", "工作空間"},
};

}  // namespace strobe
