// The search window: pagefind's index behind a small window for keyboard, touch and screen readers.
// pagefind knows Russian word forms and reads е and ё alike; one index per language of the page.
(() => {
  const dialog = document.querySelector(".bo-search");
  if (!dialog) return;
  const input = dialog.querySelector(".bo-search__query");
  const status = dialog.querySelector(".bo-search__status");
  const list = dialog.querySelector(".bo-search__results");
  const base = new URL(dialog.dataset.base.replace(/\/?$/, "/"), location);
  const PAGES = 12;
  const ENOUGH = 4;
  const SECTIONS = 3;
  let engine;
  let latest = 0;

  function load() {
    engine ??= import(new URL("pagefind/pagefind.js", base)).then(async (pagefind) => {
      await pagefind.options({ baseUrl: base.pathname, excerptLength: 24 });
      await pagefind.init();
      return pagefind;
    });
    return engine;
  }

  // Lower case without the dots of ё and й, cut into words: the form in which words are compared.
  function words(text) {
    const plain = text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
    return plain.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  }

  // pagefind falls back to a letter or two when it doesn't know a word; such pages aren't meant.
  function related(query, page) {
    const marked = [page, ...page.sub_results].flatMap((part) =>
      (part.excerpt.match(/<mark>.*?<\/mark>/g) ?? []).flatMap((mark) => words(mark.slice(6, -7))));
    return words(query).some((word) => marked.some((other) => {
      let same = 0;
      while (same < word.length && word[same] === other[same]) same += 1;
      return same >= Math.min(2, word.length) && same >= word.length / 2;
    }));
  }

  // Of a rare word the beginning is tried, too: «расшифровать» then finds «расшифровка».
  function* shortened(query) {
    yield query;
    let last = query;
    const longest = Math.max(0, ...words(query).map((word) => word.length));
    for (let cut = 1; cut <= longest * 0.4; cut += 1) {
      const next = query.replace(/[\p{L}\p{M}]+/gu, (word) => word.slice(0, Math.max(5, word.length - cut)));
      if (next !== last) yield next;
      last = next;
    }
  }

  async function find(query) {
    const pagefind = await load();
    const found = new Map(); // by address, the nearest first
    for (const attempt of shortened(query)) {
      const { results } = await pagefind.search(attempt);
      const pages = await Promise.all(results.slice(0, PAGES).map((result) => result.data()));
      for (const page of pages.filter((page) => related(attempt, page))) {
        if (!found.has(page.url)) found.set(page.url, page);
      }
      if (found.size >= ENOUGH) break;
    }
    return [...found.values()].slice(0, PAGES);
  }

  function link(url, title, excerpt) {
    const anchor = document.createElement("a");
    anchor.href = url;
    anchor.className = "bo-search__link";
    const heading = document.createElement("strong");
    heading.textContent = title;
    const text = document.createElement("span");
    text.innerHTML = excerpt; // pagefind escapes everything but its own <mark>
    anchor.append(heading, text);
    return anchor;
  }

  function show(pages) {
    list.replaceChildren(...pages.map((page) => {
      const item = document.createElement("li");
      const { title } = page.meta;
      const parts = page.sub_results.filter((part) => part.url.includes("#"));
      const sections = parts.filter((part) => part.title !== title).slice(0, SECTIONS);
      const beginning = parts.find((part) => part.title === title)?.excerpt ?? "";
      item.append(link(page.url, title, sections.length ? beginning : page.excerpt));
      if (sections.length) {
        const inner = document.createElement("ul");
        inner.append(...sections.map((part) => {
          const row = document.createElement("li");
          row.append(link(part.url, part.title, part.excerpt));
          return row;
        }));
        item.append(inner);
      }
      return item;
    }));
  }

  async function search() {
    const query = input.value.trim();
    const turn = ++latest;
    let message = "";
    let pages = [];
    try {
      if (query) {
        pages = await find(query);
        const { count, none } = dialog.dataset;
        message = pages.length ? count.replace("#", pages.length) : none;
      }
    } catch (error) {
      message = dialog.dataset.failed;
      console.error(error);
    }
    if (turn !== latest) return; // a later letter is already being looked up
    show(pages);
    status.textContent = message;
    list.ariaBusy = "false";
  }

  function open() {
    if (dialog.open) return;
    dialog.showModal();
    input.select();
    load().catch(() => { status.textContent = dialog.dataset.failed; });
  }

  let timer;
  input.addEventListener("input", () => {
    list.ariaBusy = "true";
    clearTimeout(timer);
    timer = setTimeout(search, 120);
  });
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.click();
  });
  dialog.querySelector(".bo-search__close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    // Outside the window, or a link into the page that is already open.
    if (event.target === dialog || event.target.closest("a")) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [input, ...list.querySelectorAll("a")];
    const next = stops.indexOf(document.activeElement) + step;
    stops[Math.min(Math.max(next, 0), stops.length - 1)].focus();
    event.preventDefault();
  });
  for (const button of document.querySelectorAll(".bo-open-search")) {
    button.addEventListener("click", open);
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    const asked = (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey)
      || (event.code === "KeyK" && (event.ctrlKey || event.metaKey));
    if (!asked) return;
    event.preventDefault();
    open();
  });
})();
