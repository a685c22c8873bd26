// Lets the search work in pages that were opened from disk, where browsers refuse to start a worker: its script then runs
// in a hidden frame, which is handed the worker's messages.
if (location.protocol === "file:") {
  window.Worker = class {
    #waiting = [];
    #frame = document.createElement("iframe");
    onmessage = null;
    onerror = null;

    constructor(url) {
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => setTimeout(() => this.onmessage?.({ data }));
      const script = inside.document.createElement("script");
      script.src = new URL(url, location.href).href;
      script.onload = () => {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting.forEach((data) => inside.onmessage({ data }));
      };
      script.onerror = () => this.onerror?.(new Event("error"));
      inside.document.body.append(script);
    }

    postMessage(data) {
      if (this.#waiting) this.#waiting.push(data);
      else setTimeout(() => this.#frame.contentWindow?.onmessage({ data }));
    }

    terminate() {
      this.#frame.remove();
    }
  };
}
