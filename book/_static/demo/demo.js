// The live demo: distorts an image and asks the published networks what they see, in the reader's browser.
// Needs distortion.js before it; loads everything else that scripts/export_demo.py made from its own folder.
"use strict";

(demo => {
  const SIZE = 32, PIXELS = SIZE * SIZE, TOP = 5;
  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const root = document.getElementById("demo");
  const part = name => root.querySelector(`[data-demo="${name}"]`);
  const sessions = new Map(); // file of a network -> promise of its inference session
  const state = { image: null, label: "", class: null, seed: 0, turn: 0 };

  // Loading

  function loadScript(name) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = folder + name;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${name} is missing. Build the book with "make book".`));
      document.head.append(script);
    });
  }

  const bytes = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));

  function unpacked(packed) {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }

  /** Start the runtime on one thread: more would need headers that a static page does not have. */
  async function startRuntime() {
    await Promise.all([loadScript("ort.wasm.min.js"), loadScript("runtime.js")]);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([demo.glue], { type: "text/javascript" })) };
    ort.env.wasm.wasmBinary = await unpacked(bytes(demo.wasm));
    demo.glue = demo.wasm = null; // several MB that nobody needs any more
  }

  let queue = Promise.resolve(); // network files are read one after the other: each puts its content in one place
  function session(file) {
    if (!sessions.has(file)) {
      const made = queue.then(async () => {
        await loadScript(`${file}.js`);
        return ort.InferenceSession.create(bytes(demo.network), { executionProviders: ["wasm"] });
      });
      queue = made.catch(() => {});
      sessions.set(file, made);
    }
    return sessions.get(file);
  }

  // Images and predictions

  demo.softmax = logits => {
    const largest = Math.max(...logits);
    const powers = Array.from(logits, value => Math.exp(value - largest));
    const total = powers.reduce((a, b) => a + b, 0);
    return powers.map(power => power / total);
  };

  /** Logits [100] of one network for one image, planar RGB in 0..255. */
  demo.logits = async (file, image) => {
    const images = new ort.Tensor("float32", image, [1, 3, SIZE, SIZE]);
    return (await (await session(file)).run({ images })).logits.data;
  };

  function exampleImage(example) {
    return Float32Array.from(bytes(example.pixels));
  }

  /** The largest centred square of a picture as 32x32 pixels, each the mean of the pixels that it covers. */
  function shrunk(picture, width, height) {
    const side = Math.min(width, height), factor = Math.max(1, Math.min(16, Math.floor(side / SIZE)));
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIZE * factor;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // behind transparent parts
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, (width - side) / 2, (height - side) / 2, side, side, 0, 0, canvas.width, canvas.width);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.width);
    const image = new Float32Array(3 * PIXELS);
    for (let i = 0; i < canvas.width * canvas.width; i++) {
      const row = Math.floor(i / canvas.width / factor), column = Math.floor((i % canvas.width) / factor);
      for (let c = 0; c < 3; c++) image[c * PIXELS + row * SIZE + column] += data[4 * i + c] / factor ** 2;
    }
    return image;
  }

  /** Values outside 0..255 are clipped for the screen only. */
  function paint(canvas, image) {
    const pixels = new ImageData(SIZE, SIZE);
    for (let i = 0; i < PIXELS; i++) {
      for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = image[c * PIXELS + i];
      pixels.data[4 * i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  const sigma = distortion => Number(part(distortion).value);
  const against = () => root.querySelector("input[name=demo-against]:checked").value;

  function distorted() {
    const blurred = demo.blur(state.image, sigma("blur"));
    return demo.addNoise(blurred, sigma("awgn"), demo.noise[state.seed]);
  }

  // The page

  /** What everybody should read: that the demo is loading, or why something did not work. */
  const say = text => { part("message").textContent = text; };
  const percent = share => `${(100 * share).toFixed(share > 0 && share < 0.01 ? 1 : 0)} %`;

  function element(tag, className, text = "") {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
  }

  function conditions() {
    const blur = sigma("blur"), noise = sigma("awgn");
    const parts = [blur && `blur of ${blur} pixels`, noise && `noise of ${noise} grey values`].filter(Boolean);
    return parts.join(" and ") || "no distortion";
  }

  /** The top five of one network as a list; returns them in words. */
  function showPrediction(list, confidence) {
    const best = [...confidence.keys()].sort((a, b) => confidence[b] - confidence[a]).slice(0, TOP);
    list.replaceChildren(...best.map(index => {
      const name = demo.data.classes[index], right = name === state.class;
      const item = element("li", right ? "demo-right" : "");
      const bar = element("span", "demo-bar");
      bar.style.width = percent(confidence[index]).replace(" ", "");
      item.append(bar, element("span", "demo-name", name), element("span", "demo-share", percent(confidence[index])));
      if (right) item.append(element("span", "visually-hidden", "(right)"));
      return item;
    }));
    return `${demo.data.classes[best[0]]}, ${percent(confidence[best[0]])}`;
  }

  let announcing;
  /** For screen readers, the predictions in words; after the slider has come to rest, or they would never end. */
  function announce(text) {
    clearTimeout(announcing);
    announcing = setTimeout(() => { part("announcement").textContent = text; }, 500);
  }

  /** Distort, paint, ask all networks. A later call overtakes an earlier one. */
  async function update() {
    const turn = ++state.turn, image = distorted();
    part("blur-value").textContent = `${sigma("blur").toFixed(1)} pixels`;
    part("awgn-value").textContent = `${sigma("awgn")} grey values`;
    paint(part("canvas"), image);
    part("canvas").setAttribute("aria-label", `${state.label} with ${conditions()}, 32 by 32 pixels, enlarged`);
    part("caption").textContent = `${state.label}, ${conditions()}`;
    const words = [];
    for (const method of demo.data.methods) {
      const file = demo.data.networks[`${method} ${against()}`];
      if (!file) continue;
      const logits = await demo.logits(file, image);
      if (turn !== state.turn) return;
      words.push(`${method}: ${showPrediction(part(method), demo.softmax(logits))}`);
    }
    root.dataset.settled = turn;
    say("");
    announce(`${state.label} with ${conditions()}. ${words.join(". ")}.`);
  }

  function changed() {
    update().catch(error => say(`This did not work: ${error.message}`));
  }

  function choose(image, label, name) {
    Object.assign(state, { image, label, class: name });
    part("truth").textContent = name ? `In CIFAR-100 this is a ${name}, outlined where a network names it.`
      : "Nothing says what is right here. The networks must choose one of their 100 classes.";
    changed();
  }

  async function chooseFile(file) {
    let picture;
    try {
      picture = await createImageBitmap(file);
    } catch {
      say(`${file.name}: expected a picture that this browser can show, such as PNG or JPEG. Choose another one.`);
      return;
    }
    root.querySelectorAll("input[name=demo-example]").forEach(radio => { radio.checked = false; });
    choose(shrunk(picture, picture.width, picture.height), "Your image", null);
  }

  function addExamples() {
    part("examples").append(...demo.data.examples.map((example, i) => {
      const label = element("label", "demo-example"), radio = element("input", "");
      Object.assign(radio, { type: "radio", name: "demo-example", checked: i === 0 });
      const canvas = element("canvas", "");
      canvas.width = canvas.height = SIZE;
      paint(canvas, exampleImage(example));
      const pick = () => choose(exampleImage(example), example.name[0].toUpperCase() + example.name.slice(1), example.class);
      radio.addEventListener("change", pick);
      label.append(radio, canvas, element("span", "", example.name));
      return label;
    }));
  }

  function addPanels() {
    part("results").append(...demo.data.methods.map(method => {
      const panel = element("section", "demo-panel"), heading = element("h3", "", method);
      heading.id = `demo-${method.toLowerCase()}`;
      panel.setAttribute("aria-labelledby", heading.id);
      const list = element("ol", "demo-list");
      list.dataset.demo = method;
      panel.append(heading, list);
      return panel;
    }));
  }

  /** A network that is not trained yet says so in place of its predictions. */
  function markMissing() {
    for (const method of demo.data.methods) {
      if (demo.data.networks[`${method} ${against()}`]) continue;
      part(method).replaceChildren(element("li", "", `Not run yet: ${demo.data.command}`));
    }
  }

  function listen() {
    for (const distortion of ["blur", "awgn"]) part(distortion).addEventListener("input", changed);
    root.querySelectorAll("input[name=demo-against]").forEach(radio =>
      radio.addEventListener("change", () => { markMissing(); changed(); }));
    part("again").addEventListener("click", () => {
      state.seed = (state.seed + 1) % demo.noise.length;
      changed();
    });
    part("file").addEventListener("change", event => { if (event.target.files[0]) chooseFile(event.target.files[0]); });
    root.addEventListener("dragover", event => { event.preventDefault(); root.classList.add("demo-drop"); });
    root.addEventListener("dragleave", () => root.classList.remove("demo-drop"));
    root.addEventListener("drop", event => {
      event.preventDefault();
      root.classList.remove("demo-drop");
      if (event.dataTransfer.files[0]) chooseFile(event.dataTransfer.files[0]);
    });
  }

  async function start() {
    say("Loading the networks.");
    await loadScript("data.js");
    demo.noise = demo.data.noise.map(text => new Float32Array(bytes(text).buffer));
    addExamples();
    addPanels();
    await startRuntime();
    listen();
    markMissing();
    part("controls").disabled = false;
    const first = demo.data.examples[0];
    choose(exampleImage(first), first.name[0].toUpperCase() + first.name.slice(1), first.class);
  }

  demo.started = start().catch(error => say(`The demo cannot start: ${error.message}`));
})(globalThis.dclibDemo);
