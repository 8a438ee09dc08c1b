// Chapter 12: which fields of a header stop which damage. Data: fields (each with name, label, bytes, and early: whether
// it objects before anything is decoded), damages (each with name, objecting: for every file the names of the fields
// that object to it, and picture: what a file decodes to, a WebP in base64) and whole, the picture that is right.
export default {
  render({ model, el }) {
    const [fields, damages] = [model.get("fields"), model.get("damages")];
    const kept = new Set([fields[0].name]);
    const count = damages[0].objecting.length;

    const size = readout("size", "header");
    const quiet = readout("quiet", "wrong pictures that come out quietly");
    const group = element("fieldset", { class: "ptb-control" }, element("legend", {}, "fields"));
    for (const field of fields) {
      const input = element("input", { type: "checkbox", value: field.name });
      input.checked = kept.has(field.name);
      input.disabled = field.bytes === 0; // nobody can leave out what costs nothing
      input.addEventListener("change", () => {
        if (input.checked) kept.add(field.name);
        else kept.delete(field.name);
        draw();
      });
      group.append(element("label", {}, input, ` ${field.label}${field.bytes ? ` (${field.bytes} bytes)` : ""}`));
    }

    const rows = damages.map((damage) => {
      const words = element("output", { "data-name": damage.name });
      const bars = ["early", "late", "quiet"].map(() => element("span"));
      const bar = element("div", { "aria-hidden": "true" }, ...bars);
      bar.style.cssText = "display: flex; height: 0.7em; margin-top: 0.2em; border: 1px solid #7a7f8788";
      bars.forEach((one, index) => { one.style.background = [COLORS[2], COLORS[0], COLORS[4]][index]; });
      const image = element("img", { alt: `what comes out: ${damage.name}` });
      image.style.cssText = "width: 6em; aspect-ratio: 3 / 2; flex: none";
      const text = element("div", {}, `${damage.name}: `, words, bar);
      text.style.cssText = "flex: 1 1 10em; min-width: 0";
      const line = element("div", {}, image, text);
      line.style.cssText = "display: flex; gap: 0.8em; align-items: center; margin: 0.35em 0";
      return { damage, words, bars, image, line };
    });

    function draw() {
      const asked = fields.filter((field) => kept.has(field.name));
      let all = 0;
      for (const { damage, words, bars, image } of rows) {
        const objects = (file, early) => asked.some((field) => field.early === early && file.includes(field.name));
        const early = damage.objecting.filter((file) => objects(file, true)).length;
        const late = damage.objecting.filter((file) => !objects(file, true) && objects(file, false)).length;
        const out = count - early - late;
        all += out;
        const parts = [[early, "refused at once"], [late, "after decoding"], [out, "come out wrong"]];
        words.value = parts.filter(([number]) => number).map(([number, what]) => `${number} ${what}`).join(", ");
        parts.forEach(([number], index) => { bars[index].style.flex = `${number} 0 0`; });
        image.src = `data:image/webp;base64,${damage.picture}`;
        image.style.opacity = out ? "1" : "0.15";
      }
      size.value = `${asked.reduce((sum, field) => sum + field.bytes, 0)} bytes`;
      quiet.value = `${all} of ${count * damages.length}`;
    }

    const right = element("img", { alt: "the right picture", src: `data:image/webp;base64,${model.get("whole")}` });
    right.style.cssText = "width: 6em; aspect-ratio: 3 / 2";
    const top = element("div", {}, right, element("div", {}, "The right picture.", size.line, quiet.line));
    top.style.cssText = "display: flex; gap: 0.8em; align-items: center; margin: 0.4em 0";
    el.append(group, top, ...rows.map((row) => row.line));
    draw();
  },
};
