// Chapter 1: the pixels that one patch gets, under a right cut and under wrong ones. A cut is what reshape and permute
// make of a frame: the sizes of its axes, and their new order.
export default {
  render({ model, el }) {
    const [height, width, side] = [model.get("height"), model.get("width"), model.get("side")];
    const [rows, columns, numbers] = [height / side, width / side, 3 * side * side];
    const [frame, cuts] = [unpack(model.get("frame")), model.get("cuts")];
    let [cut, row, column] = [0, model.get("row"), model.get("column")];

    const pixels = readout("pixels", "its numbers come from");
    const where = readout("where", "which lie in");
    const whole = picture(width, height, "the frame, with all pixels dimmed that are not in the patch");
    const patch = picture(side, side, "the patch, its numbers taken for pixels in reading order");
    whole.style.maxWidth = "27em";
    patch.style.maxWidth = "9em";
    const line = element("div", {}, patch, whole);
    line.style.cssText = "display: flex; flex-wrap: wrap; gap: 0.8em; align-items: flex-start; margin-top: 0.6em";

    // Where in the frame's memory the numbers of patch (row, column) lie.
    function sources() {
      const { sizes, order } = cuts[cut];
      const strides = sizes.map((_, axis) => sizes.slice(axis + 1).reduce((product, size) => product * size, 1));
      return Array.from({ length: numbers }, (_, number) => {
        let [place, source] = [(row * columns + column) * numbers + number, 0];
        for (const axis of [...order].reverse()) {
          source += (place % sizes[axis]) * strides[axis];
          place = Math.floor(place / sizes[axis]);
        }
        return source;
      });
    }

    function draw() {
      const found = sources();
      const taken = new Set(found);
      const places = [...new Set(found.map((source) => Math.floor(source / 3)))];
      const span = (values) => {
        const [first, last] = [Math.min(...values), Math.max(...values)];
        return first === last ? `${first}` : `${first} to ${last}`;
      };
      pixels.value = `${places.length} pixels`;
      where.value = `rows ${span(places.map((place) => Math.floor(place / width)))}, columns ${span(places.map((place) => place % width))}`;
      whole.paint(Array.from(frame, (value, source) => (taken.has(source) ? value : 128 + (value - 128) * 0.25)));
      patch.paint(found.map((source) => frame[source]));
    }

    const names = choice("cut", cuts.map((one) => one.name), cut, (index) => {
      cut = index;
      draw();
    });
    names.style.cssText = "display: grid; grid-template-columns: repeat(auto-fill, minmax(max(8.5em, 30%), 1fr))";
    names.querySelector("legend").style.gridColumn = "1 / -1"; // the six names stand in two or three full lines
    const down = slider("row of patches", rows - 1, row, String, (value) => {
      row = value;
      draw();
    });
    const across = slider("column of patches", columns - 1, column, String, (value) => {
      column = value;
      draw();
    });
    el.append(names, down, across, pixels.line, where.line, line);
  },
};
