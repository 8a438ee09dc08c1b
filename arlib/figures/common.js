// What every figure uses. `arlib.widgets` puts this text before a figure's own, so both are one ES module; nothing is
// exported here. Colors are those of arlib.plots and stand out from a light and from a dark page; all else is drawn
// in currentColor, the page's own ink.

const COLORS = ["#3b82c4", "#e07b39", "#3f9c6b", "#b25fb0", "#c94f4f", "#8a7f3d"];

// An HTML or SVG element: element("p", {class: "note"}, "text", child, …). SVG where the name begins with "svg:".
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// A labeled slider over the whole numbers from 0 to `last`. `show(value)` gives the words beside it, which a screen
// reader says too; `change(value)` is called at once and whenever it moves.
function slider(label, last, value, show, change) {
  const input = element("input", { type: "range", min: 0, max: last, step: 1, value });
  const words = element("output");
  const moved = () => {
    words.value = show(Number(input.value));
    input.setAttribute("aria-valuetext", words.value);
    change(Number(input.value));
  };
  input.addEventListener("input", moved);
  queueMicrotask(moved); // after the figure has been put together
  return element("label", { class: "ptb-control" }, element("span", {}, label), input, words);
}

// A row of buttons of which one is pressed; `change(index)` is called at once and at each choice. Arrow keys move.
function choice(label, names, chosen, change) {
  const group = element("fieldset", { class: "ptb-control" }, element("legend", {}, label));
  const id = `ptb-${Math.random().toString(36).slice(2)}`; // radio buttons of one name exclude each other
  names.forEach((name, index) => {
    const input = element("input", { type: "radio", name: id, value: index });
    input.checked = index === chosen;
    input.addEventListener("change", () => change(index));
    group.append(element("label", {}, input, ` ${name}`));
  });
  queueMicrotask(() => change(chosen));
  return group;
}

// A value that the figure has worked out: "bits per token: 3.35". Tests find it by its name; set it by `.value = …`.
function readout(name, label) {
  const value = element("output", { "data-name": name });
  const line = element("p", { class: "ptb-readout" }, `${label}: `, value);
  return { line, set value(words) { value.value = words; }, get value() { return value.value; } };
}

// A canvas that shows pixels ([r, g, b, …] bytes, row by row), each as a sharp square.
function picture(width, height, alt) {
  const canvas = element("canvas", { width, height, role: "img", "aria-label": alt });
  canvas.style.cssText = "width: 100%; image-rendering: pixelated; display: block";
  canvas.paint = (rgb) => {
    const image = new ImageData(width, height);
    for (let pixel = 0; pixel < width * height; pixel++) {
      image.data.set([rgb[3 * pixel], rgb[3 * pixel + 1], rgb[3 * pixel + 2], 255], 4 * pixel);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  };
  return canvas;
}

// Bytes that `widgets.pack` has put into the data.
function unpack(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
