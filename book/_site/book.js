// Repairs what the theme leaves without a proper name for people who cannot see it.
document.addEventListener("DOMContentLoaded", () => {
  // The label "Search" hides the rest of what is written on the button.
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
  // The button is called "Color mode", and its icons, which another script draws, have names that contradict that.
  for (const button of document.querySelectorAll(".theme-switch-button")) {
    const hide = () => button.querySelectorAll("svg").forEach((icon) => {
      icon.querySelector("title")?.remove();
      icon.setAttribute("aria-hidden", "true");
    });
    new MutationObserver(hide).observe(button, { childList: true, subtree: true });
    hide();
  }
  // An arrow that unfolds the pages of a part, next to the link to the part.
  for (const summary of document.querySelectorAll("nav details > summary")) {
    const part = summary.closest("li")?.querySelector("a")?.textContent.trim();
    summary.setAttribute("aria-label", `Pages of ${part}`);
  }
});
