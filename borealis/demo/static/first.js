// Runs before anything of Gradio's; `settings` come from the server.
(settings) => {
  const root = document.documentElement;
  root.lang = settings.language;

  // Gradio takes its words from the browser's language, and they should be in the page's.
  Object.defineProperty(navigator, 'language', { get: () => settings.language });
  Object.defineProperty(navigator, 'languages', { get: () => [settings.language] });

  // In a frame of our own site the site's links are around us already.
  try {
    if (parent !== window && parent.location.host === location.host) {
      // A style of its own: Gradio confines ours to its container, and no class is above that.
      document.head.insertAdjacentHTML('beforeend', '<style>.bo-links { display: none !important }</style>');
    }
  } catch { /* a foreign site's frame */ }

  // Words that it has in English alone.
  const words = settings.words.map(([english, ours]) => [
    new RegExp(`^${english.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace('{}', '(.+)')}$`, 's'), ours,
  ]);
  function said(text) {
    const trimmed = text.trim().replace(/\s+/g, ' ');
    for (const [pattern, ours] of words) {
      const match = trimmed.match(pattern);
      if (!match) continue;
      const value = match[1] ?? '';
      const short = value && isFinite(value)
        ? Number(value).toLocaleString(settings.language, { maximumFractionDigits: 2 }) : value;
      return ours.replace('{}', () => short);
    }
    return text;
  }
  function label(element) {
    for (const name of ['aria-label', 'title']) {
      const now = element.getAttribute(name);
      if (now && said(now) !== now) element.setAttribute(name, said(now));
    }
  }
  // What a visitor or the model said stays as it is.
  const gradios = (node) => !node.parentElement?.closest('script, style, textarea, .prose, .message, [class^=bo-]');
  function text(node) {
    if (node.data.trim() && said(node.data) !== node.data && gradios(node)) node.data = said(node.data);
  }
  function every(node) {
    if (node.nodeType === Node.TEXT_NODE) text(node);
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    label(node);
    for (const child of node.childNodes) every(child);
  }
  new MutationObserver((changes) => {
    for (const { type, target, addedNodes } of changes) {
      if (type === 'childList') addedNodes.forEach(every);
      else if (type === 'attributes') label(target);
      else text(target);
    }
  }).observe(root, {
    subtree: true, childList: true, characterData: true, attributeFilter: ['aria-label', 'title'],
  });

  // Gradio lets a file in by the type that the browser guesses from its name, and webm and mp4 are
  // video for it. The server looks into the file itself, so here every file is called audio. One
  // over the limit isn't sent at all.
  const named = (file) => file.type.startsWith('audio/')
    ? file : new File([file], file.name, { type: 'audio/unknown' });
  function files(event) {
    const given = [...(event.target.files ?? event.dataTransfer?.files ?? [])];
    document.querySelectorAll('.bo-toast').forEach((old) => old.remove());
    if (given.some((file) => file.size > settings.limit)) {
      event.stopImmediatePropagation();
      event.preventDefault();
      if (event.target.files) event.target.value = '';
      document.body.insertAdjacentHTML('beforeend', settings.tooLarge);
      setTimeout(() => document.querySelector('.bo-toast')?.remove(), 15000);
    } else if (given.some((file) => named(file) !== file)) {
      const carrier = new DataTransfer();
      given.forEach((file) => carrier.items.add(named(file)));
      if (event.target.files) {
        event.target.files = carrier.files;
      } else { // what is dropped can't be changed: the same drop once more
        event.stopImmediatePropagation();
        event.preventDefault();
        event.target.dispatchEvent(
          new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: carrier }),
        );
      }
    }
  }
  addEventListener('change', files, true);
  addEventListener('drop', files, true);
  // The window in which a file is chosen would hide them too.
  addEventListener('click', ({ target }) => {
    if (target.type === 'file') target.removeAttribute('accept');
  }, true);
}
