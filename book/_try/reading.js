// The page "Try it": from the bytes of any picture file to a picture of the codec. It runs in a worker, as a picture of a
// camera takes seconds; the page uses what it needs itself.
"use strict";
const reading = (() => {
  const isPng = (bytes) => bytes[0] === 137 && bytes[1] === 80 && bytes[2] === 78;

  const OWN = typeof OffscreenCanvas !== "undefined"; // where a worker has no canvas, the page lends its own

  function newCanvas(width, height) {
    return OWN ? new OffscreenCanvas(width, height) : Object.assign(document.createElement("canvas"), { width, height });
  }

  /** Does a canvas give back the pixels that it was given? Some browsers change them, to keep their users from being
   *  recognized. */
  function isTrue(canvas) {
    const { width, height } = canvas;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const given = new ImageData(width, height);
    for (let i = 0; i < given.data.length; i++) given.data[i] = i % 4 === 3 ? 255 : (i * 37 + (i >> 3) * 11) % 256;
    context.putImageData(given, 0, 0);
    const back = context.getImageData(0, 0, width, height).data;
    return given.data.every((value, i) => value === back[i]);
  }

  /** The pixels of any picture that the browser can read, on white, if it can be trusted: `{height, width, data}`. */
  async function pixelsOf(bytes) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    } catch {
      throw new ptb.CodecError("This is no picture that the browser can read.");
    }
    if (!isTrue(newCanvas(16, 16))) {
      throw new ptb.CodecError("This browser changes the pixels that a page reads, to protect you from being recognized. A PNG file works all the same.");
    }
    // A picture of very many pixels is made smaller by the browser first: phones have little memory.
    const scale = Math.min(1, Math.sqrt(16e6 / (bitmap.width * bitmap.height)));
    const [width, height] = [Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale))];
    const context = newCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    const { data } = context.getImageData(0, 0, width, height);
    return { height, width, data };
  }

  /** Any picture file as a picture. PNG is read by our own reader, everything else by the browser. */
  async function read(bytes) {
    return isPng(bytes) ? ptb.readPng(bytes) : ptb.onWhite(await pixelsOf(bytes), 3);
  }

  /** The part of a picture that has the shape of the frame, `share` from 0 (left or top) to 1; then fitted as Python does. */
  function cropped(picture, height, width, share) {
    const { data } = picture;
    const wide = picture.width * height > picture.height * width;
    const cut = {
      width: wide ? Math.max(1, Math.round((picture.height * width) / height)) : picture.width,
      height: wide ? picture.height : Math.max(1, Math.round((picture.width * height) / width)),
    };
    if (share === 0.5 || (cut.width === picture.width && cut.height === picture.height)) return ptb.fit(picture, height, width);
    const [left, top] = [Math.round((picture.width - cut.width) * share), Math.round((picture.height - cut.height) * share)];
    const part = new Uint8Array(cut.width * cut.height * 3);
    for (let row = 0; row < cut.height; row++) {
      const first = 3 * ((top + row) * picture.width + left);
      part.set(data.subarray(first, first + 3 * cut.width), 3 * row * cut.width);
    }
    return ptb.fit({ ...cut, channels: 3, data: part }, height, width);
  }

  return { OWN, isPng, isTrue, pixelsOf, read, cropped };
})();
