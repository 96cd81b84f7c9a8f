// Renders the formulas of a page with the vendored KaTeX; loaded only where there is one.
for (const element of document.querySelectorAll(".arithmatex")) {
  const text = element.textContent.trim();
  const formula = text.replace(/^\\[([]/, "").replace(/\\[)\]]$/, "");
  katex.render(formula, element, { displayMode: text.startsWith("\\["), throwOnError: false });
}
