// Chapter 10: where the bits of a file went, for one of several files.
export default {
  render({ model, el }) {
    const files = model.get("files");
    const names = Object.keys(files[0].rows);
    const canvas = picture(30, 20, "the file's picture, a square for each token");
    canvas.style.maxWidth = "15em";

    const bytes = readout("bytes", "the whole file, in bytes");
    const table = element("table");
    table.style.cssText = "width: 100%; border-collapse: collapse; margin: 0.4em 0; background: none";
    const cell = (style, ...content) => {
      const made = element("td", {}, ...content);
      made.style.cssText = `padding: 0.15em 0.4em; white-space: nowrap; border: 0; background: none; color: inherit; ${style}`;
      return made;
    };
    const head = element("tr", {}, cell(""), cell("text-align: right", "bits"), cell("text-align: right", "share"), cell(""));
    head.style.background = "none";
    table.append(head);
    const rows = names.map((name, index) => {
      const value = element("output", { "data-name": name });
      const share = element("output", { "data-name": `${name}-share` });
      const bar = element("div", { "data-name": `${name}-bar` });
      bar.style.cssText = "height: 0.9em; box-sizing: border-box";
      const line = element("tr", {}, cell("", name), cell("text-align: right", value),
        cell("text-align: right", share), cell("width: 40%", bar));
      line.style.background = "none";
      table.append(line);
      return { value, share, bar, colour: COLOURS[index] };
    });

    function show(index) {
      const file = files[index];
      const sizes = names.map((name) => file.rows[name]);
      // All bars begin at one line; what is below zero lies to the left of it, hatched.
      const [least, largest] = [Math.min(...sizes, 0), Math.max(...sizes)];
      const room = least < -1 ? Math.max((100 * -least) / (largest - least), 4) : 0; // in per cent, left of the line
      rows.forEach(({ value, share, bar, colour }, place) => {
        value.value = sizes[place].toFixed(3);
        share.value = `${((100 * sizes[place]) / (8 * file.bytes)).toFixed(1)} %`;
        const below = sizes[place] < -1;
        bar.style.marginLeft = below ? "0" : `${room}%`;
        bar.style.width = `${below ? room : ((100 - room) * Math.max(sizes[place], 0)) / largest}%`;
        bar.style.minWidth = "1px";
        bar.style.border = below ? `1px solid ${colour}` : "0";
        bar.style.background = below ? `repeating-linear-gradient(45deg, ${colour} 0 2px, transparent 2px 4px)` : colour;
      });
      bytes.value = String(file.bytes);
      canvas.paint(unpack(file.picture));
    }

    const control = slider("file", files.length - 1, 0, (index) => files[index].name, show);
    el.append(control, canvas, table, bytes.line);
  },
};
