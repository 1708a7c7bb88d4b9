#include "strobe/report/html_style.h"

namespace strobe {

// Every pair of text and background has a contrast of at least 4.5:1, of a curve and its background
// 3:1. Charts are drawn for a phone (360 units wide); wider screens take smaller letters in them.
Markup report_style() {
  return Markup::literal(R"(<style>
:root {
  color-scheme: light dark;
  --page: #fbfaf8; --card: #ffffff; --text: #1d2126; --muted: #5a636e; --line: #e2e0da;
  --accent: #0b5c94; --good: #17683f; --bad: #a3301c; --code: #f3f1ec;
  --c0: #c2500a; --c1: #0b6cad; --c2: #11795a; --c3: #a03f7c; --c4: #8a6200; --c5: #5b53b0;
  --c6: #4c6f1f; --c7: #6a7079;
  --serif: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial,
    sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
:root:lang(zh) {
  --serif: "Noto Serif TC", "Noto Serif CJK TC", "Songti TC", serif;
  --sans: system-ui, "PingFang TC", "Microsoft JhengHei", "Noto Sans TC", "Noto Sans CJK TC",
    sans-serif;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14171a; --card: #1b1f24; --text: #e7e9ec; --muted: #a2abb5; --line: #2f353c;
    --accent: #7cc0f2; --good: #6fd09a; --bad: #ff9a85; --code: #23282e;
    --c0: #ff9450; --c1: #5fb4f0; --c2: #45c79c; --c3: #ec93c8; --c4: #e3b341; --c5: #a9a1ff;
    --c6: #a6d16a; --c7: #b3bac2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 17px/1.6 var(--sans);
  overflow-wrap: anywhere; }
main, header, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 3.25rem; }
footer { padding-top: 1rem; padding-bottom: 3rem; color: var(--muted); font-size: .875rem; }
h1, h2, h3, p, ul, ol, dl, figure, table, pre { margin: 0; }
h1 { font: 600 2.3rem/1.15 var(--serif); letter-spacing: -.01em; }
h2 { font: 600 1.6rem/1.25 var(--serif); margin-top: 3.5rem; padding-top: 1.5rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.125rem; line-height: 1.4; margin-top: 2.25rem; }
figcaption h3 { font-size: 1rem; font-weight: 600; margin: 0; }
p { max-width: 44rem; }
p + p { margin-top: .75rem; }
a { color: var(--accent); }
.about { color: var(--muted); margin-top: .5rem; }
.reading { margin-top: 1rem; padding-left: 1.15rem; max-width: 44rem; }
.reading li { margin-top: .45rem; }
.reading li::marker { color: var(--muted); }
.reading .bad { color: var(--bad); font-weight: 600; }
nav { margin-top: 1.25rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.25rem; }
.tiles { display: grid; gap: .75rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: .9rem 1.1rem 1rem; }
.tiles dt { color: var(--muted); font-size: .875rem; }
.tiles dd { margin: .1rem 0 0; font: 600 1.75rem/1.25 var(--sans); letter-spacing: -.015em;
  font-variant-numeric: tabular-nums; }
.tiles dd + dd { font: 400 .875rem/1.45 var(--sans); color: var(--muted); letter-spacing: 0; }
.charts { display: grid; gap: 1rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.one { max-width: 34rem; }
.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); }
figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.1rem; min-width: 0; container-type: inline-size; }
figcaption p { color: var(--muted); font-size: .875rem; line-height: 1.5; margin-top: .1rem; }
figure > svg { display: block; width: 100%; height: auto; margin-top: .75rem; overflow: visible; }
.legend { list-style: none; padding: 0; margin-top: .6rem; display: flex; flex-wrap: wrap;
  gap: .15rem 1.1rem; font-size: .875rem; }
.legend svg { width: 24px; height: 12px; margin-right: .4rem; }
svg text { font-family: var(--sans); font-size: 12px; fill: var(--text);
  font-variant-numeric: tabular-nums; }
svg .tick, svg .axis-title, svg .bar-part, svg .mark { fill: var(--muted); }
svg .bar-value { font-weight: 600; }
svg .mark { paint-order: stroke; stroke: var(--card); stroke-width: 5px; }
svg .grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg .axis { stroke: var(--muted); stroke-width: 1; vector-effect: non-scaling-stroke; }
svg .line, svg .dashed, svg .backdrop, svg .cross { fill: none; stroke: var(--c);
  stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
svg .line { stroke-width: 2; }
svg .dashed { stroke-width: 1.75; stroke-dasharray: 5 5; }
svg .backdrop { stroke-width: 7; stroke-opacity: .38; }
svg .cross { stroke-width: 2.5; }
svg .point, svg .part-of { fill: var(--c); }
svg .hidden-pairs { fill: var(--code); stroke: var(--line); }
svg .visible-pairs { fill: var(--c); }
svg text.token { font-size: 8px; fill: var(--muted); }
svg .whole { fill: var(--c); fill-opacity: .32; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
.c6 { --c: var(--c6); } .c7 { --c: var(--c7); }
table { border-collapse: collapse; width: 100%; margin-top: 1.5rem; font-size: .9375rem;
  line-height: 1.45; font-variant-numeric: tabular-nums; }
.narrow { max-width: 48rem; }
caption { text-align: left; font-weight: 600; font-size: 1rem; padding-bottom: .5rem; }
th, td { padding: .38rem .9rem .38rem 0; text-align: right; vertical-align: baseline;
  font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
tbody th, thead :first-child { text-align: left; }
thead th { font-weight: 600; border-bottom: 1.5px solid var(--muted); }
thead td { border-bottom: 1.5px solid var(--muted); }
tbody tr { border-bottom: 1px solid var(--line); }
tbody tr.rule { border-top: 2px solid var(--line); }
tbody tr.part th { padding-left: 1.1rem; color: var(--muted); }
pre + p { margin-top: .75rem; }
pre span { display: inline-block; max-width: 100%; }
@media (min-width: 40.01rem) { .wide th, .wide td { overflow-wrap: break-word; } }
details { margin-top: 1.25rem; }
summary { cursor: pointer; color: var(--accent); font-weight: 600; }
pre { margin-top: .75rem; padding: .9rem 1.1rem; background: var(--code); border-radius: .6rem;
  font: .8125rem/1.6 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: .875em/1 var(--mono); }
blockquote { margin: .75rem 0 0; padding: .1rem 0 .1rem 1rem; border-left: 3px solid var(--line);
  white-space: pre-wrap; max-width: 44rem; font-family: var(--serif); }
.facts { display: grid; grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr);
  gap: .2rem 1.25rem; margin-top: 1rem; font-size: .9375rem; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; }
@container (min-width: 24rem) {
  svg text { font-size: 10px; }
}
@media (max-width: 40rem) {
  body { font-size: 16px; line-height: 1.55; }
  main, header, footer { padding-left: .9rem; padding-right: .9rem; }
  header { padding-top: 2rem; }
  h1 { font-size: 1.8rem; }
  h2 { font-size: 1.35rem; margin-top: 2.5rem; }
  figure { padding: .9rem .8rem; }
  .wide, .wide tbody, .wide caption, .wide tr, .wide th { display: block; }
  .wide thead { position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); }
  .wide tbody tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr));
    gap: .1rem .75rem; padding: .55rem 0; }
  .wide tbody th { grid-column: 1 / -1; font-weight: 600; padding: 0; }
  .wide tbody td { padding: 0; text-align: left; }
  .wide tbody td::before { content: attr(data-label); display: block; color: var(--muted);
    font-size: .75rem; line-height: 1.3; }
}
@media print {
  @page { margin: 16mm 15mm; }
  :root { --page: #ffffff; --line: #d0cec8; }
  body { font-size: 10.5pt; line-height: 1.45; }
  main, header, footer { max-width: none; padding-left: 0; padding-right: 0; }
  header { padding-top: 0; }
  nav { display: none; }
  h1 { font-size: 20pt; } h2 { font-size: 15pt; margin-top: 1.75rem; padding-top: 1rem; }
  h2, h3, summary, caption { break-after: avoid; }
  figure, tr, .tiles div, pre { break-inside: avoid; }
  .charts { grid-template-columns: 1fr 1fr; gap: .6rem; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  details::details-content { content-visibility: visible; display: block; height: auto; }
  svg text { font-size: 13px; }
  th, td { padding-top: .2rem; padding-bottom: .2rem; }
  .tiles dd { font-size: 1.3rem; } .tiles dd + dd, .tiles dt { font-size: .8rem; }
  svg * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
</style>
)");
}

}  // namespace strobe
