// Lets widgets draw themselves on a page with no kernel and no network. Loaded after require.js, before embed-amd.js.
(() => {
  const here = new URL(".", document.currentScript.src).href;

  // Where require.js looks for a widget package. The packages in embed-amd.js take the icon font from beside the file
  // that require.js believes them to be in.
  require.config({
    baseUrl: here,
    paths: {
      "@jupyter-widgets/html-manager": here + "html-manager",
      "@jupyter-widgets/html-manager/dist/libembed-amd": here + "libembed-amd",
    },
  });

  // What follows happens before the widgets are drawn, which is at "load" too.
  window.addEventListener("load", () => {
    // The theme's script turns every icon (<i>) into a picture (<svg>), those of widgets as well, and a Play button
    // that is pressed then throws, for it looks for its <i>. The theme's own icons have been turned by now.
    window.FontAwesome.noAuto();

    // The widget manager speaks to MathJax 2; the site has MathJax 3.
    if (!window.MathJax) return;
    const typeset = ([, , element]) => MathJax.startup.promise.then(() => MathJax.typesetPromise([element]));
    window.MathJax.Hub = { Queue: typeset };
  });
})();
