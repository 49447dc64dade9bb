// Run before the page's own scripts: notes when messages with pictures arrive and when pictures are
// painted. All times are of performance.now().
(() => {
  const watch = { told: [], paints: [] };
  window.xaiWatch = watch;

  // What a message says of a picture: of which run it is, and after how many steps. A "map" and a
  // "frame" of a dream are made on the way; a finished result is state, not a message of its own.
  function content(data) {
    if (!(data instanceof ArrayBuffer)) return null;
    const view = new DataView(data);
    const offset = (i) => Number(view.getBigUint64(8 * (i + 1), true));
    const text = new TextDecoder().decode(data.slice(offset(4), offset(5)));
    if (!/"map"|"frame"|"_result_info"/.test(text)) return null;
    const told = JSON.parse(text).data;
    const { kind, gen, done, iteration } = told?.content ?? {};
    if (kind === "map") return { kind, gen, step: done };
    if (kind === "frame") return { kind, gen, step: iteration };
    const info = told?.state?._result_info;
    if (info?.generation === undefined) return null;
    return { kind: "final", gen: info.generation, step: info.done };
  }

  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        const told = content(data);
        if (told) watch.told.push({ at: performance.now(), ...told });
      });
    }
  };

  // When the decoding of an image was asked for.
  const asked = new WeakMap();
  const decode = window.createImageBitmap;
  window.createImageBitmap = async (...args) => {
    const at = performance.now();
    const image = await decode(...args);
    asked.set(image, at);
    return image;
  };

  // Every painting of a picture begins by clearing. A task posted from a frame's callback runs
  // after the browser has taken over what that frame shows.
  const pen = CanvasRenderingContext2D.prototype;
  const { clearRect, drawImage } = pen;
  let current = null;
  pen.clearRect = function (...args) {
    if (this.canvas.classList.contains("xai-canvas")) {
      const paint = { at: 0, image: 0 };
      current = { canvas: this.canvas, paint };
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        paint.at = performance.now();
        watch.paints.push(paint);
      };
      port2.postMessage(null);
    }
    return clearRect.apply(this, args);
  };
  pen.drawImage = function (image, ...args) {
    if (current?.canvas === this.canvas) current.paint.image = asked.get(image) ?? 0;
    return drawImage.call(this, image, ...args);
  };

  const frame = () => new Promise((done) => requestAnimationFrame(done));
  async function until(find) {
    const limit = performance.now() + 120000;
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (performance.now() > limit) throw new Error("nothing was painted");
      await frame();
    }
  }
  const paintAfter = async (time) => (await until(() => watch.paints.find((p) => p.at > time))).at;
  // A frame has to be decoded, and meanwhile an older one may be painted once more.
  const framePaint = async (time) =>
    (await until(() => watch.paints.find((p) => p.image >= time))).at;

  const dreams = () => watch.told.some((m) => m.kind === "frame");
  const pictures = (told) => told.filter((m) => (dreams() ? m.kind === "frame" : true));
  const painted = (m) => (m.kind === "frame" ? framePaint(m.at) : paintAfter(m.at));
  // The message with the picture of a finished run, once the run is.
  async function finished(among) {
    const final = await until(() => among().findLast((m) => m.kind === "final"));
    if (!dreams()) return final;
    const same = (m) => m.kind === "frame" && m.gen === final.gen && m.step === final.step;
    return until(() => among().find(same));
  }

  function move(slider, value, type) {
    slider.value = String(value);
    slider.dispatchEvent(new Event(type, { bubbles: true }));
  }

  // From an input to the next painted frame, for something the page does alone.
  watch.local = async (slider, value) => {
    await frame();
    await frame();
    const from = performance.now();
    move(slider, value, "input");
    return (await paintAfter(from)) - from;
  };

  // From one input to the first picture, to the first after `enough` steps and to the finished one,
  // all painted. An option, which has no value, is clicked.
  watch.jump = async (control, value, enough) => {
    const gen = Math.max(-1, ...watch.told.map((m) => m.gen));
    const step = Math.max(0, ...watch.told.filter((m) => m.gen === gen).map((m) => m.step));
    const from = performance.now();
    if (value === null) control.click();
    else {
      move(control, value, "input");
      move(control, value, "change");
    }
    // A dream goes on where it stands, as the same run. Its start image is no picture of it.
    const later = (m) => m.gen > gen || (m.gen === gen && m.step > step);
    const fresh = () => watch.told.filter((m) => (m.step > 0 || m.kind !== "frame") && later(m));
    const first = await painted(await until(() => pictures(fresh())[0]));
    const after = await painted(await until(() => pictures(fresh()).find((m) => m.step >= enough)));
    const last = await painted(await finished(fresh));
    return [first - from, after - from, last - from];
  };

  // Inputs a frame apart; from the last one to the finished picture of a value after it began.
  watch.drag = async (slider, values) => {
    const before = watch.told.length;
    for (const value of values) {
      move(slider, value, "input");
      await frame();
    }
    move(slider, values.at(-1), "change");
    const from = performance.now();
    return { from, before };
  };

  // What a drag showed, once the kernel has finished.
  watch.dragged = async ({ from, before }) => {
    const told = () => watch.told.slice(before);
    const gen = Math.max(...told().map((m) => m.gen));
    const last = await finished(() => told().filter((m) => m.gen === gen));
    return { painted: (await painted(last)) - from, pictures: pictures(told()).length };
  };
})();
