// A file over the limit isn't sent at all. The words in capitals are filled in by the server.
(() => {
  // Gradio sets the browser's language; the words are in the page's.
  const root = document.documentElement;
  const name = () => root.lang !== "LANGUAGE" && (root.lang = "LANGUAGE");
  new MutationObserver(name).observe(root, { attributeFilter: ["lang"] });
  name();
  function check(event) {
    const files = [...(event.target.files ?? event.dataTransfer?.files ?? [])];
    document.querySelectorAll('.bo-toast').forEach((old) => old.remove());
    if (!files.some((file) => file.size > LIMIT)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.target.files) event.target.value = '';
    document.body.insertAdjacentHTML('beforeend', NOTE);
    setTimeout(() => document.querySelector('.bo-toast')?.remove(), 15000);
  }
  addEventListener('change', check, true);
  addEventListener('drop', check, true);
})();
