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

// What can be moved sideways can be moved by the keyboard: a wide plot on a narrow page.
addEventListener("load", () => {
  for (const box of document.querySelectorAll(".bd-article .cell_output, .bd-article .ptb-wide")) {
    const wide = () => {
      if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    };
    new ResizeObserver(wide).observe(box);
  }
});

// Solutions are printed: all that is folded on the page opens for the printer and closes afterwards.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".bd-article details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
