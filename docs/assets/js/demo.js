// The live demo in a page: nothing is loaded until the reader asks for it, and only if a server of
// the demo stands behind the site. The frame follows the palette of the page.
(() => {
  const root = new URL("../../", document.currentScript.src);
  const russian = document.documentElement.lang === "ru";
  const words = russian
    ? {
        open: "Открыть живую демонстрацию",
        wait: "Ищу модель…",
        none: "За этим сайтом нет модели. Запустите её у себя: make demo.",
        title: "Живая демонстрация Borealis",
      }
    : {
        open: "Open the live demo",
        wait: "Looking for the model…",
        none: "There is no model behind this site. Run it on your machine: make demo.",
        title: "Live demo of Borealis",
      };

  const dark = () => document.body.dataset.mdColorScheme === "slate";

  async function alive() {
    try {
      const answer = await fetch(new URL("healthz", root));
      return answer.ok && (await answer.json()).status === "ok";
    } catch {
      return false;
    }
  }

  function frame() {
    const made = document.createElement("iframe");
    made.className = "bo-demo__frame";
    made.title = words.title;
    made.allow = "microphone; clipboard-write";
    const address = new URL(`demo/${russian ? "ru" : "en"}/`, root);
    address.searchParams.set("__theme", dark() ? "dark" : "light");
    made.src = address;
    // The same server, so the palette can change without a reload.
    new MutationObserver(() => made.contentDocument?.body?.classList.toggle("dark", dark())).observe(
      document.body,
      { attributeFilter: ["data-md-color-scheme"] },
    );
    return made;
  }

  for (const place of document.querySelectorAll("[data-demo]")) {
    place.classList.add("bo-demo");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "md-button md-button--primary";
    button.textContent = words.open;
    const status = document.createElement("p");
    status.setAttribute("role", "status");
    button.addEventListener("click", async () => {
      button.disabled = true;
      status.textContent = words.wait;
      if (await alive()) {
        place.replaceChildren(frame());
      } else {
        status.textContent = words.none;
        button.disabled = false;
      }
    });
    place.replaceChildren(button, status);
  }
})();
