// Speech: it is played while it is made; its player, files and picture when it is whole. `element`,
// `props` and `watch` are Gradio's. props.value: {run, rate, parts, html, files}, see page.py.
const EARLY = 0.3; // seconds of sound before the first is played, and after a gap
let context = null; // plays what is being made
let run = '', silenced = '', taken = 0;
let begun = 0, ends = 0; // in seconds of the context: where the sound began, how far it is filled
let urls = [];

const bytes = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
const player = () => element.querySelector('audio');

function hush() {
  context?.close();
  context = null;
  silenced = run;
}

// int16, little-endian, behind what was given before.
function play(data, rate) {
  const samples = new DataView(data.buffer), count = data.length / 2;
  if (!context) {
    context = new AudioContext({ sampleRate: rate });
    context.resume();
    begun = ends = context.currentTime + EARLY;
    follow();
  }
  if (!count) return;
  const late = context.currentTime - ends;
  if (late > 0) { // the model is slower than the sound
    begun += late + EARLY;
    ends += late + EARLY;
  }
  const buffer = context.createBuffer(1, count, rate), channel = buffer.getChannelData(0);
  for (let i = 0; i < count; i += 1) channel[i] = samples.getInt16(2 * i, true) / 32768;
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.start(ends);
  ends += buffer.duration;
}

// The place that is heard, seconds; null in silence.
function heard() {
  if (context) return context.currentTime < ends ? Math.max(0, context.currentTime - begun) : null;
  const audio = player();
  return audio && !audio.paused ? audio.currentTime : null;
}

let following = false;
function follow() {
  if (following) return;
  following = true;
  requestAnimationFrame(function step() {
    const now = heard();
    if (now === null && context && props.value.html) { // all of it was played
      context.close();
      context = null;
    }
    if (now === null && !context) {
      following = false;
      mark(null);
      return;
    }
    mark(now);
    requestAnimationFrame(step);
  });
}

// Show where the sound is, and keep that in sight.
function mark(now) {
  const look = element.querySelector('.bo-look'), cursor = element.querySelector('.bo-cursor');
  if (!look || !cursor) return;
  const seconds = Number(look.dataset.seconds);
  cursor.hidden = now === null || now > seconds;
  if (cursor.hidden) return;
  const sheet = element.querySelector('.bo-sheet').getBoundingClientRect();
  const track = element.querySelector('.bo-track').getBoundingClientRect();
  const at = track.left - sheet.left + now / seconds * track.width;
  cursor.style.left = `${at}px`;
  cursor.style.width = '2px';
  const scroll = element.querySelector('.bo-scroll');
  const quarter = scroll.clientWidth / 4, left = at - scroll.scrollLeft;
  if (left < quarter || left > 3 * quarter) scroll.scrollLeft = at - 2 * quarter;
}

function ready({ files }) {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  const url = (form) => {
    const kind = form === 'mp3' ? 'audio/mpeg' : 'audio/wav';
    urls.push(URL.createObjectURL(new Blob([bytes(files[form])], { type: kind })));
    return urls.at(-1);
  };
  for (const link of element.querySelectorAll('.bo-file')) link.href = url(link.dataset.form);
  const audio = player();
  audio.src = url('wav');
  audio.onplay = () => {
    if (context) hush();
    document.dispatchEvent(new CustomEvent('bo-speaks', { detail: element }));
    follow();
  };
}

watch('value', () => {
  const value = props.value;
  if (value.run !== run) {
    hush();
    player()?.pause();
    [run, silenced, taken] = [value.run, '', 0];
    if (run) document.dispatchEvent(new CustomEvent('bo-speaks', { detail: element }));
  }
  for (; taken < value.parts.length; taken += 1) {
    if (silenced !== run) play(bytes(value.parts[taken]), value.rate);
  }
  if (value.html && player() && !player().src) ready(value);
});

document.addEventListener('bo-speaks', ({ detail }) => {
  if (detail === element) return;
  hush();
  player()?.pause();
});
document.addEventListener('click', ({ target }) => {
  if (!target.closest('.bo-stop')) return;
  hush();
  player()?.pause();
});

// What is under the pointer, and where a click plays from.
function under(event) {
  const look = element.querySelector('.bo-speech');
  const track = event.target.closest('.bo-row')?.querySelector('.bo-track');
  if (!look || !track) return null;
  const box = track.getBoundingClientRect();
  const at = (event.clientX - box.left) / box.width * Number(look.dataset.seconds);
  return at >= 0 && at < Number(look.dataset.seconds) ? at : null;
}
element.addEventListener('pointermove', (event) => {
  const at = under(event);
  if (at === null) return;
  const { say, symbol, lang } = element.querySelector('.bo-speech').dataset;
  const format = (value) => value.toLocaleString(lang, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const starts = (name) => [...element.querySelectorAll(name)].findLast(
    (one) => Number(one.dataset.start) <= at + 1e-6,
  );
  const token = starts('.bo-token'), sound = starts('.bo-symbol');
  if (!token || at > Number(token.dataset.start) + Number(token.dataset.frame) + 1e-6) return;
  const from = Number(token.dataset.start);
  let text = say.replace('{from}', format(from)).replace('{to}', format(from + Number(token.dataset.frame)))
    .replace('{token}', token.textContent);
  if (sound) text += ' · ' + symbol.replace('{symbol}', () => sound.dataset.symbol).replace('{ms}', sound.dataset.ms);
  element.querySelector('.bo-readout').textContent = text;
});
element.addEventListener('click', (event) => {
  const at = under(event), audio = player();
  if (at === null || !audio) return;
  hush();
  audio.currentTime = at;
  audio.play();
});
