// The page "Try it": its parts. Everything is a plain element with a name that a screen reader says.
"use strict";
const { element, button, field, range, chooser, canvas, draw, blank, patch, list, say } = (() => {
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in made && typeof value === "function") made[key] = value;
      else if (value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  const button = (label, onclick, attributes = {}) => element("button", { type: "button", onclick, ...attributes }, label);

  /** A labeled input. */
  function field(label, input) {
    return element("label", { class: "try-field" }, element("span", {}, label), input);
  }

  /** A labeled slider that says its value in words. `moved()` is for who has moved it, `tell()` says it and no more. */
  function range(label, settings, words, change) {
    const input = element("input", { type: "range", ...settings });
    const output = element("output");
    const tell = () => {
      output.value = words(Number(input.value));
      input.setAttribute("aria-valuetext", output.value);
    };
    const moved = () => {
      tell();
      change(Number(input.value));
    };
    input.addEventListener("input", moved);
    const line = field(label, input);
    line.append(output);
    queueMicrotask(moved);
    return Object.assign(line, { input, moved, tell });
  }

  /** A file to choose, also the same one again. */
  function chooser(accept, chosen) {
    const input = element("input", { type: "file", accept, onclick: () => (input.value = "") });
    input.addEventListener("change", () => input.files[0] && chosen(input.files[0]));
    return input;
  }

  const canvas = (words, width = 150, height = 100) => element("canvas", { width, height, role: "img", "aria-label": words });

  /** A picture of the codec on a canvas. Canvases are only written here, never read. */
  function draw(onto, picture) {
    onto.width = picture.width;
    onto.height = picture.height;
    const image = new ImageData(picture.width, picture.height);
    const step = picture.channels ?? 3;
    for (let pixel = 0; pixel < picture.width * picture.height; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        image.data[4 * pixel + channel] = picture.data[step * pixel + (step === 3 ? channel : 0)];
      }
      image.data[4 * pixel + 3] = 255;
    }
    onto.getContext("2d").putImageData(image, 0, 0);
  }

  /** Nothing is known yet: a canvas of 150 × 100 pixels, all gray. */
  function blank(canvas) {
    [canvas.width, canvas.height] = [150, 100];
    const context = canvas.getContext("2d");
    context.fillStyle = "gray";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }

  /** One of its 20 × 30 patches in one color. */
  function patch(canvas, place, [red, green, blue]) {
    const context = canvas.getContext("2d");
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect((place % 30) * 5, Math.floor(place / 30) * 5, 5, 5);
  }

  /** Names and values into a list of definitions. */
  const list = (onto, facts) =>
    onto.replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));

  /** Words into an element that is announced when they change. */
  function say(where, words) {
    where.textContent = words;
  }

  return { element, button, field, range, chooser, canvas, draw, blank, patch, list, say };
})();
