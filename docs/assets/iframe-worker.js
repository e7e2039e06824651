// Search runs in a Web Worker. Browsers start none for pages that are opened from file://, so there this class takes
// its place: the worker's script runs in a hidden iframe. The name of this file keeps the offline plugin of
// mkdocs-material from loading such a class from another origin.
if (location.protocol === "file:") {
  // These two become globals of the iframe, and run there.
  const post = data => parent.postMessage(data, "*");
  const load = (...urls) => {
    const one = url =>
      new Promise(resolve => {
        const script = document.createElement("script");
        script.src = url;
        script.onload = resolve;
        document.body.appendChild(script);
      });
    return urls.reduce((before, url) => before.then(() => one(url)), Promise.resolve());
  };

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      addEventListener("message", event => {
        if (event.source !== this.frame.contentWindow) return;
        const message = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      });
      const inner = this.frame.contentWindow.document;
      inner.open();
      inner.write(
        `<body><script>postMessage = ${post}; importScripts = ${load};<${"/"}script>` +
          `<script src="${url}"><${"/"}script></body>`
      );
      this.ready = new Promise(resolve => (this.frame.contentWindow.onload = resolve));
      inner.close();
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
