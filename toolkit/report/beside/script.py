"""The script and the style of the page. What the script must know is in the page's elements."""

SCRIPT = r"""
"use strict";
const $ = (selector, from = document) => [...from.querySelectorAll(selector)];
const element = (name, text, ...classes) => {
  const made = document.createElement(name);
  made.textContent = text;
  made.classList.add(...classes);
  if (name === "button") made.type = "button";
  return made;
};

// All sounds of a row play at once, in a loop, and all but one are silent: so nothing stops where one changes over.
const PAUSE = 0.35, RAMP = 0.004;
const buffers = new Map();
let context = null, playing = null, wanted = 0;
const decoded = audio => {
  if (!buffers.has(audio)) {
    const bytes = Uint8Array.from(atob(audio.src.split(",")[1]), c => c.charCodeAt(0));
    buffers.set(audio, context.decodeAudioData(bytes.buffer));
  }
  return buffers.get(audio);
};
const padded = (buffer, length) => {
  const longer = context.createBuffer(buffer.numberOfChannels, length, buffer.sampleRate);
  for (let c = 0; c < buffer.numberOfChannels; c++) longer.copyToChannel(buffer.getChannelData(c), c);
  return longer;
};
const stop = () => {
  wanted++;
  if (playing) for (const source of playing.sources) source.stop();
  if (playing) playing.told(-1);
  playing = null;
};
const choose = index => {
  if (!playing) return;
  playing.index = index;
  playing.gains.forEach((gain, i) => gain.gain.setTargetAtTime(i === index ? 1 : 0, context.currentTime, RAMP));
  playing.told(index);
};
const play = async (audios, index, told) => {
  if (playing && playing.audios.every((audio, i) => audio === audios[i]) && playing.audios.length === audios.length) {
    if (playing.index === index) stop(); else choose(index);
    return;
  }
  stop();
  const mine = wanted;
  context = context || new AudioContext();
  await context.resume();
  const sounds = await Promise.all(audios.map(decoded));
  if (mine !== wanted) return;
  const length = Math.ceil(Math.max(...sounds.map(sound => sound.duration + PAUSE)) * sounds[0].sampleRate);
  const start = context.currentTime + 0.02, sources = [], gains = [];
  for (const sound of sounds) {
    const source = context.createBufferSource(), gain = context.createGain();
    source.buffer = padded(sound, length);
    source.loop = true;
    gain.gain.value = 0;
    source.connect(gain).connect(context.destination);
    source.start(start);
    sources.push(source);
    gains.push(gain);
  }
  playing = { audios, sources, gains, index, told };
  choose(index);
};

// The rows
for (const row of $(".row")) {
  const figures = $("figure", row).filter(figure => figure.querySelector("audio"));
  const audios = figures.map(figure => figure.querySelector("audio"));
  const told = index => figures.forEach((figure, i) => {
    figure.classList.toggle("now", i === index);
    figure.querySelector("button").textContent = i === index ? "stop" : index < 0 ? "play" : "switch";
  });
  figures.forEach((figure, i) => {
    const button = element("button", "play");
    const begin = () => play(audios, i, told);
    button.addEventListener("click", begin);
    figure.querySelector("img").addEventListener("click", begin);
    figure.querySelector("audio").hidden = true;
    figure.append(button);
  });
}

// The blind tests
const shuffled = list => {
  const all = [...list];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all;
};
const wilson = (right, n) => {
  const z = 1.959964, p = right / n, middle = p + z * z / (2 * n);
  const half = z * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)), whole = 1 + z * z / n;
  return [(middle - half) / whole, (middle + half) / whole];
};
const percent = share => `${Math.round(100 * share)} %`;
const desk = document.getElementById("desk"), ask = document.getElementById("ask");
const figureOf = (row, side) => $("figure", row).find(figure => figure.dataset.side === side);
let test = null;
const begin = (first, second, goal) => {
  stop();
  const rows = $(".row").filter(row => figureOf(row, first) && figureOf(row, second));
  const order = shuffled(rows).map(row => [row, shuffled([first, second])]);
  test = { first, second, goal, order, at: 0, right: 0, said: [] };
  document.body.classList.add("blind");
  next();
};
const next = () => {
  stop();
  desk.replaceChildren();
  if (test.at === test.order.length) return finish();
  const [row, sides] = test.order[test.at];
  const label = row.dataset.label ? `: ${row.dataset.label}` : "";
  desk.append(element("h2", `${test.at + 1} of ${test.order.length}${label}`));
  desk.append(element("p", test.goal ? "Which one is real?" : "Which one is better?"));
  const pair = element("div", "", "pair");
  const figures = sides.map(side => figureOf(row, side));
  const audios = figures.map(figure => figure.querySelector("audio")).filter(audio => audio);
  const hears = [];
  const told = index => hears.forEach((button, i) => {
    button.textContent = i === index ? `stop ${i + 1}` : index < 0 ? `hear ${i + 1}` : `switch to ${i + 1}`;
    button.classList.toggle("now", i === index);
  });
  sides.forEach((side, i) => {
    const one = element("div", "", "one");
    const text = figures[i].querySelector("pre"), image = figures[i].querySelector("img");
    if (audios.length) {
      const hear = element("button", `hear ${i + 1}`, "hear");
      hear.addEventListener("click", () => play(audios, i, told));
      hears.push(hear);
      one.append(hear);
    } else one.append((text || image).cloneNode(true));
    const answer = element("button", `${i + 1} is ${test.goal || "better"}`, "answer");
    answer.addEventListener("click", () => {
      test.said.push([row, side]);
      test.right += side === (test.goal || test.first);
      test.at++;
      next();
    });
    one.append(answer);
    pair.append(one);
  });
  const leave = element("button", "leave", "leave");
  leave.addEventListener("click", finish);
  const keys = audios.length ? "1 and 2 to hear, Shift with them to answer" : "Shift with 1 or 2 to answer";
  desk.append(pair, element("p", `Keys: ${keys}; Escape to leave.`, "soft"), leave);
};
const finish = () => {
  stop();
  const n = test.said.length, done = test;
  document.body.classList.remove("blind");
  desk.replaceChildren();
  test = null;
  if (!n) return;
  const [low, high] = wilson(done.right, n);
  const what = done.goal ? "right" : `for ${done.first}`;
  const share = `${percent(done.right / n)}, 95 % interval ${percent(low)} to ${percent(high)}`;
  const sentence = `${done.first} or ${done.second}: ${done.right} of ${n} ${what}: ${share}`;
  const verdict = low > 0.5 ? (done.goal ? "You can tell them apart." : `You like ${done.first} better.`)
    : high < 0.5 ? (done.goal ? "You take what is made for real." : `You like ${done.second} better.`)
    : "So few answers could be guesses: half of them would be.";
  desk.append(element("p", `${sentence}. ${verdict}`, "result"));
  for (const [row, side] of done.said) {
    if (done.goal && side !== done.goal) row.classList.add("missed");
  }
};
for (const button of $("button", ask)) {
  button.addEventListener("click", () => begin(button.dataset.first, button.dataset.second, button.dataset.goal));
}
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const index = ["Digit1", "Digit2"].indexOf(event.code);
  if (test && index >= 0) {
    const found = $(event.shiftKey ? ".answer" : ".hear", desk)[index];
    if (found) found.click();
    event.preventDefault();
  } else if (event.code === "Escape") test ? finish() : stop();
});
ask.hidden = false;
"""

STYLE = """
[hidden] { display: none !important }
.columns { color: var(--soft); margin: 0 0 1rem; padding-left: 1.2rem }
.row { display: grid; grid-template-columns: 9rem repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; align-items: start;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .8rem 1rem; margin: .7rem 0 }
@media (max-width: 560px) { .row { grid-template-columns: 1fr } }
.row h3 { margin: 0 } .row.missed { border-color: var(--made) }
figure { border-left: 4px solid var(--made); padding-left: .6rem; min-width: 0 }
figure[data-side="B"] { border-color: var(--accent) } figure[data-side="real"] { border-color: var(--good) }
figure.now { outline: 3px solid var(--accent); outline-offset: 3px }
img { image-rendering: pixelated; min-width: 96px } img.still { cursor: pointer; image-rendering: auto }
audio { width: 100%; height: 34px }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
button { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 99px;
  padding: .15rem .9rem; cursor: pointer; margin: .3rem .4rem 0 0 }
button:hover, button:focus-visible, button.now { border-color: var(--accent) }
body.blind .row, body.blind #ask, body.blind .columns { display: none }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1.2rem; margin: 1rem 0 }
.one { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem }
.one button { display: block; font-size: 1.1rem } .answer { font-weight: 600 }
.result { font-size: 1.1rem; border-left: 4px solid var(--good); padding-left: .8rem }
"""
