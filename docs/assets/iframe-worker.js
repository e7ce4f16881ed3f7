/* Search of a site that is opened from disk: browsers start no worker for file:// pages, so a hidden frame plays it.
   Written for this site; the theme would load such a script from elsewhere, and this site makes no outside request. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.url = String(url);
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inside = frame.contentWindow;
      inside.importScripts = (...urls) => Promise.all(urls.map((one) => this.load(new URL(one, this.url), inside)));
      inside.postMessage = (data) => this.answer(data);
      this.inside = inside;
      this.load(this.url, inside).then(() => {
        const queue = this.waiting;
        this.waiting = null;
        queue.forEach((data) => this.postMessage(data));
      });
    }
    load(url, inside) {
      return new Promise((done, failed) => {
        const script = inside.document.createElement("script");
        script.src = String(url);
        script.onload = done;
        script.onerror = failed;
        inside.document.body.appendChild(script);
      });
    }
    answer(data) {
      const event = new MessageEvent("message", { data });
      this.dispatchEvent(event);
      if (this.onmessage) this.onmessage(event);
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.inside.dispatchEvent(new MessageEvent("message", { data }));
    }
    terminate() {
      this.inside.frameElement.remove();
    }
  };
}
