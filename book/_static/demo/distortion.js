// Blur and noise as dclib.distortions computes them, on one image: planar RGB values in 0..255, row by row.
// Nothing is rounded or clipped.
"use strict";
globalThis.dclibDemo ??= {};

(demo => {
  const SIZE = 32, PIXELS = SIZE * SIZE;

  /** The nearest whole number; of two equally near ones the even, as Python's round has it. */
  function roundHalfEven(x) {
    const low = Math.floor(x);
    if (x - low !== 0.5) return Math.round(x);
    return low % 2 ? low + 1 : low;
  }

  /** The normalised taps of one axis: 4 sigma + 1 of them (Section 3.2). */
  function gaussianWindow(sigma) {
    const radius = roundHalfEven(2 * sigma);
    const taps = [];
    for (let i = -radius; i <= radius; i++) taps.push(Math.exp(-0.5 * (i / sigma) ** 2));
    const total = taps.reduce((a, b) => a + b, 0);
    return taps.map(tap => tap / total);
  }

  /** Blur along one axis; `step` leads to the next pixel on it, `across` to the next line. Outside is zero. */
  function blurAxis(from, to, taps, offset, step, across) {
    const radius = (taps.length - 1) / 2;
    for (let line = 0; line < SIZE; line++) {
      for (let i = 0; i < SIZE; i++) {
        let sum = 0;
        for (let j = Math.max(-radius, -i); j <= Math.min(radius, SIZE - 1 - i); j++) {
          sum += taps[j + radius] * from[offset + line * across + (i + j) * step];
        }
        to[offset + line * across + i * step] = sum;
      }
    }
  }

  /** Gaussian blur of standard deviation `sigma` in pixels with a zero border; 0 leaves the image as it is. */
  demo.blur = (image, sigma) => {
    if (sigma === 0) return Float32Array.from(image);
    const taps = gaussianWindow(sigma);
    const rows = new Float64Array(image.length), blurred = new Float64Array(image.length);
    for (let offset = 0; offset < image.length; offset += PIXELS) {
      blurAxis(image, rows, taps, offset, 1, SIZE);
      blurAxis(rows, blurred, taps, offset, SIZE, 1);
    }
    return Float32Array.from(blurred);
  };

  /** Add `sigma` times a standard normal field: noise of standard deviation `sigma` in grey values. */
  demo.addNoise = (image, sigma, field) => Float32Array.from(image, (value, i) => value + sigma * field[i]);
})(globalThis.dclibDemo);
