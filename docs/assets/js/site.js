// Small helps of every page: language link, copy buttons, keyboard access to what the theme leaves out.
(() => {
  // The page in the other language opens at the same place.
  const languages = document.querySelectorAll("a.bo-language");
  function keepPlace() {
    for (const link of languages) link.hash = location.hash;
  }
  addEventListener("hashchange", keepPlace);
  // The theme changes the address while the reader scrolls without telling anybody.
  for (const link of languages) link.addEventListener("click", keepPlace);
  keepPlace();

  // A console block shows prompts and outputs; its copy button takes the commands alone.
  for (const code of document.querySelectorAll(".language-console code")) {
    const copy = code.cloneNode(true);
    for (const part of copy.querySelectorAll(".gp, .go, .gt")) part.remove();
    code.parentElement.dataset.copy = copy.textContent.replace(/\n{2,}/g, "\n").trim();
  }

  // The theme opens its menu by a label; it becomes a button that a keyboard reaches.
  const drawer = document.getElementById("__drawer");
  const menu = document.querySelector("label.md-header__button[for=__drawer]");
  if (drawer && menu) {
    const tell = () => menu.setAttribute("aria-expanded", String(drawer.checked));
    menu.tabIndex = 0;
    menu.setAttribute("role", "button");
    menu.setAttribute("aria-label", document.documentElement.lang === "ru" ? "Разделы" : "Sections");
    menu.addEventListener("keydown", (event) => {
      if (event.key !== " ") return; // the theme itself listens to Enter
      event.preventDefault();
      menu.click();
    });
    drawer.addEventListener("change", tell);
    tell();
  }

  // What scrolls sideways inside itself has to be reachable by keyboard.
  const wide = ".md-typeset__scrollwrap, .md-typeset pre > code, .md-typeset .arithmatex, .md-typeset table:not([class])";
  function reachable() {
    for (const box of document.querySelectorAll(wide)) {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }
  addEventListener("load", reachable);
  addEventListener("resize", reachable);
})();
