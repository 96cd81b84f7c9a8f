// The picture of a recording: what is under the pointer. `element` is Gradio's.
element.addEventListener('pointermove', (event) => {
  const look = element.querySelector('.bo-look');
  const track = event.target.closest('.bo-row')?.querySelector('.bo-track');
  const cursor = element.querySelector('.bo-cursor');
  if (!look || !track || !cursor) return;
  const { step, seconds, say, word, lang } = look.dataset;
  const box = track.getBoundingClientRect();
  const at = (event.clientX - box.left) / box.width * seconds;
  if (at < 0 || at >= seconds) { cursor.hidden = true; return; }
  const row = event.target.closest('.bo-row').dataset;
  const start = Number(row.start ?? 0);
  const token = Math.floor((at - start) / step);
  const from = start + token * step;
  const format = (value) => value.toLocaleString(lang, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  let text = say.replace('{from}', format(from)).replace('{to}', format(from + Number(step)))
    .replace('{token}', Math.floor(from / step + 0.5) + 1);
  const share = row.shares?.split(' ')[token];
  if (share !== undefined) text += ' · ' + word.replace('{word}', () => row.word).replace('{share}', share);
  element.querySelector('.bo-readout').textContent = text;
  const sheet = element.querySelector('.bo-sheet').getBoundingClientRect();
  cursor.hidden = false;
  cursor.style.left = `${box.left - sheet.left + from / seconds * box.width}px`;
  cursor.style.width = `${step / seconds * box.width}px`;
});
element.addEventListener('pointerleave', () => {
  const cursor = element.querySelector('.bo-cursor');
  if (cursor) cursor.hidden = true;
});
