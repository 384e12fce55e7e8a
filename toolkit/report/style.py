"""The page's colours and layout. Nothing in it names a file or an address."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1d21; --soft: #5c5f68; --paper: #f7f7f5; --card: #fff; --line: #dcdcd8;
  --accent: #1f5fa8; --faint: #9dbbdd; --warn: #fff2d6; --warn-ink: #6b4700; --good: #1f7a5c; --made: #b5541c }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --soft: #a3a6b0; --paper: #131418; --card: #1c1d23;
  --line: #34363f; --accent: #7db4f0; --faint: #3d5876; --warn: #3a2d10; --warn-ink: #f3d79a; --good: #5cc9a0;
  --made: #f09a62 } }
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body { margin: 0; color: var(--ink); background: var(--paper); font: 16px/1.55 system-ui, sans-serif }
main, header, footer { max-width: 1040px; margin: 0 auto; padding: 0 1.2rem }
header { padding-top: 1.6rem } footer { padding-bottom: 2rem; color: var(--soft); font-size: .85rem }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .2rem; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 0 0 .7rem } h3 { font-size: 1.05rem; margin: 1.4rem 0 .5rem; overflow-wrap: anywhere }
h4 { font-size: .9rem; margin: 0 0 .4rem; color: var(--soft) }
p { margin: 0 0 .8rem; max-width: 76ch; overflow-wrap: anywhere } .soft { color: var(--soft) }
.lead { font-size: 1.08rem } .kind { color: var(--soft); margin: 0 0 .8rem }
.warn { background: var(--warn); color: var(--warn-ink); border-radius: 8px; padding: .7rem 1rem; max-width: none }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem .5rem; list-style: none; margin: 1rem 0 0; padding: 0 }
nav span, nav a { display: block; color: var(--accent); text-decoration: none; border: 1px solid var(--line);
  border-radius: 99px; padding: .15rem .8rem; background: var(--card); font-size: .9rem }
nav a:hover, nav a:focus { border-color: var(--accent) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: .7rem; margin: 1rem 0 0 }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .5rem .9rem }
.tiles dt { color: var(--soft); font-size: .8rem } .tiles dd { margin: 0; font-size: 1.25rem; font-weight: 600 }
main > section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.1rem 1.3rem;
  margin: 1.1rem 0; scroll-margin-top: 1rem }
figure { margin: 0 } figcaption { color: var(--soft); font-size: .88rem; margin: .3rem 0 }
img { max-width: 100%; height: auto; border-radius: 6px; display: block }
.plots { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem 1.4rem }
.plot b { color: var(--ink) } .plot svg { display: block; width: 100%; height: auto }
.rule { stroke: var(--line); stroke-width: 1 }
.plot text { fill: var(--soft); font: 12px system-ui, sans-serif }
.plot polyline { fill: none; stroke-linejoin: round }
.main { stroke: var(--accent); stroke-width: 2 } .raw { stroke: var(--faint); stroke-width: 1 }
.dot { fill: var(--accent) }
.strip { display: flex; gap: .9rem; overflow-x: auto; scroll-snap-type: x proximity; padding-bottom: .6rem }
.strip figure { flex: none; scroll-snap-align: start; max-width: min(86%, 24rem) }
.strip img { width: auto; max-height: 24rem }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 1.6rem; align-items: flex-start }
.beside figure { max-width: 100% }
.long { overflow-x: auto } .long img { max-width: none; width: auto; height: 15rem }
.wide { overflow-x: auto; margin: 0 0 .8rem }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--soft); font-size: .88rem; padding-bottom: .3rem }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line) }
tbody th { font-weight: 500 } thead th { color: var(--soft); font-weight: 500 }
th small { display: block; color: var(--soft); font-weight: 400; max-width: 34ch }
td, th { overflow-wrap: break-word } .files td { text-align: right; white-space: nowrap }
pre { margin: .3rem 0 .9rem; padding: .7rem .9rem; background: var(--paper); border: 1px solid var(--line);
  border-radius: 8px; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace }
pre.text { white-space: pre-wrap; overflow-wrap: anywhere }
summary { cursor: pointer; color: var(--accent); margin: .2rem 0 .5rem }
.inlay summary { font-weight: 600; padding: .25rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }
.meter { width: 7.5rem; height: 14px; display: block; margin-top: .35rem } .meter rect { fill: var(--line) }
.meter circle { fill: var(--accent) }
.in-cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: .7rem }
.in-cards figure { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; background: var(--paper) }
.in-cards img { width: 100%; border-radius: 0; background: #000 }
.in-cards figcaption { padding: 0 .6rem .2rem; font-size: .8rem }
.inlay pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 } .inlay pre small { display: block;
  color: var(--soft) } .in-texts { display: grid; grid-template-columns: repeat(auto-fill,
  minmax(min(100%, 17rem), 1fr)); gap: .7rem } .in-texts, .inlay > pre { max-height: 44rem; overflow: auto }
.in-group { border-left: 4px solid var(--line); padding-left: .7rem; margin-bottom: .9rem }
.in-made { border-color: var(--made) } .in-real { border-color: var(--good) }
audio { display: block; width: 100%; height: 36px; margin-top: .3rem }
@media (prefers-color-scheme: dark) { img.ink { filter: invert(1) } }
@media (min-width: 900px) { .in-both { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 1fr);
  gap: 1rem } }
@media (max-width: 640px) { body { font-size: 15px } main, header, footer { padding-left: .7rem; padding-right: .7rem }
  main > section { padding: .9rem .8rem } .plots { grid-template-columns: minmax(0, 1fr) }
  .tiles, .in-cards { grid-template-columns: repeat(2, minmax(0, 1fr)) } }
@media print { nav { display: none } main > section { break-inside: avoid } }
"""
