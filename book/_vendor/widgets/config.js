// Lets widgets draw themselves on a page with no kernel and no network. Loaded after require.js, before embed-amd.js.
(() => {
  const here = new URL(".", document.currentScript.src).href;

  // Where require.js looks for a widget package, and embed-amd.js for its icon font.
  require.config({ baseUrl: here });
  window.__jupyter_widgets_assets_path__ = here;

  // The theme turns icons (<i>) into pictures (<svg>). Unless it puts them inside, it takes away the very elements
  // that a Play button changes when it is pressed, and the button throws.
  window.FontAwesomeConfig = { autoReplaceSvg: "nest" };

  // The widget manager speaks to MathJax 2; the site has MathJax 3. Widgets are drawn at "load", and so after this.
  window.addEventListener("load", () => {
    if (!window.MathJax) return;
    const typeset = ([, , element]) => MathJax.startup.promise.then(() => MathJax.typesetPromise([element]));
    window.MathJax.Hub = { Queue: typeset };
  });
})();
