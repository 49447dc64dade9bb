// Run before the page's own scripts: notes when messages with maps arrive and when pictures are
// painted. All times are of performance.now().
(() => {
  const watch = { maps: [], paints: [] };
  window.xaiWatch = watch;

  function content(data) {
    if (!(data instanceof ArrayBuffer)) return null;
    const view = new DataView(data);
    const offset = (i) => Number(view.getBigUint64(8 * (i + 1), true));
    const text = new TextDecoder().decode(data.slice(offset(4), offset(5)));
    if (!text.includes('"map"') && !text.includes('"_result_info"')) return null;
    const told = JSON.parse(text).data;
    if (told?.content?.kind === "map") return { stage: "early", gen: told.content.gen };
    // A finished result is state, not a message of its own.
    const gen = told?.state?._result_info?.generation;
    return gen === undefined ? null : { stage: "final", gen };
  }

  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", ({ data }) => {
        const told = content(data);
        if (told) watch.maps.push({ at: performance.now(), ...told });
      });
    }
  };

  // Every painting of a picture begins with this. A task posted from a frame's callback runs
  // after the browser has taken over what that frame shows.
  const clear = CanvasRenderingContext2D.prototype.clearRect;
  CanvasRenderingContext2D.prototype.clearRect = function (...args) {
    if (this.canvas.classList.contains("xai-canvas")) {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => watch.paints.push(performance.now());
      port2.postMessage(null);
    }
    return clear.apply(this, args);
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
  const paintAfter = (time) => until(() => watch.paints.find((at) => at > time));
  const map = (gen, stages) =>
    until(() => watch.maps.find((m) => m.gen > gen && stages.includes(m.stage)));

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

  // From one input to the first picture and to the finished one, both painted.
  watch.jump = async (slider, value) => {
    const gen = watch.maps.at(-1)?.gen ?? 0;
    const from = performance.now();
    move(slider, value, "input");
    move(slider, value, "change");
    const first = await paintAfter((await map(gen, ["early", "final"])).at);
    const last = await paintAfter((await map(gen, ["final"])).at);
    return [first - from, last - from];
  };

  // Inputs a frame apart; from the last one to the finished picture of a value after it began.
  watch.drag = async (slider, values) => {
    const before = watch.maps.length;
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
    const maps = watch.maps.slice(before);
    const gen = Math.max(...maps.map((m) => m.gen));
    const final = maps.find((m) => m.gen === gen && m.stage === "final");
    const painted = final ? (await paintAfter(final.at)) - from : null;
    return { painted, pictures: maps.length };
  };
})();
