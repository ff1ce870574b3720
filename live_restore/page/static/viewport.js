// Where voxels are on the screen: zoom and pan, in pixels of the canvas.

const MOST_ZOOM = 64;

export class Viewport {
  panes = 1; // two: side by side
  zoom = 1; // canvas pixels per voxel across
  left = 0;
  top = 0;
  shape = [1, 1]; // voxels down and across
  aspect = 1; // how much higher than wide a voxel is
  #canvas;
  #fitted = true;
  #moved;

  /** Follows wheel, pointer and size of a canvas; `moved` is called whenever something is elsewhere. */
  constructor(canvas, moved) {
    this.#canvas = canvas;
    this.#moved = moved;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(1.2 ** (-event.deltaY / 100), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    canvas.addEventListener("dblclick", () => this.fit());
  }

  #resize() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.#canvas.width = Math.max(1, Math.round(this.#canvas.clientWidth * ratio));
    this.#canvas.height = Math.max(1, Math.round(this.#canvas.clientHeight * ratio));
    if (this.#fitted) this.fit();
    else this.#moved();
  }

  /** Canvas pixels per CSS pixel. */
  get ratio() {
    return this.#canvas.width / Math.max(1, this.#canvas.clientWidth);
  }

  get paneWidth() {
    return Math.floor(this.#canvas.width / this.panes);
  }

  /** Takes the size of what is shown now: voxels down and across, and how much higher than wide they are. */
  show(shape, aspect) {
    const changed = shape.join() !== this.shape.join() || aspect !== this.aspect;
    this.shape = shape;
    this.aspect = aspect;
    if (changed || this.#fitted) this.fit();
  }

  fit() {
    const [rows, columns] = this.shape;
    const height = rows * this.aspect;
    this.zoom = Math.min(this.paneWidth / columns, this.#canvas.height / height);
    this.left = (this.paneWidth - columns * this.zoom) / 2;
    this.top = (this.#canvas.height - height * this.zoom) / 2;
    this.#fitted = true;
    this.#moved();
  }

  oneToOne() {
    this.zoomBy(1 / this.zoom);
  }

  /** Zooms about a point of the canvas (CSS pixels). */
  zoomBy(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    const [sx, sy] = [this.#inPane(x * this.ratio), y * this.ratio];
    const fit = Math.min(this.paneWidth / this.shape[1], this.#canvas.height / (this.shape[0] * this.aspect));
    const zoom = Math.min(MOST_ZOOM, Math.max(Math.min(fit, 1) / 2, this.zoom * factor));
    this.left = sx - ((sx - this.left) * zoom) / this.zoom;
    this.top = sy - ((sy - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.#fitted = false;
    this.#moved();
  }

  #inPane(sx) {
    return this.panes > 1 ? sx % this.paneWidth : sx;
  }

  #drag(event) {
    if (event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const start = { x: event.clientX, y: event.clientY, left: this.left, top: this.top };
    const move = (each) => {
      this.left = start.left + (each.clientX - start.x) * this.ratio;
      this.top = start.top + (each.clientY - start.y) * this.ratio;
      if (Math.abs(each.clientX - start.x) + Math.abs(each.clientY - start.y) > 2) this.#fitted = false;
      this.#moved();
    };
    const end = () => {
      this.#canvas.removeEventListener("pointermove", move);
      this.#canvas.removeEventListener("pointerup", end);
      this.#canvas.removeEventListener("pointercancel", end);
    };
    this.#canvas.addEventListener("pointermove", move);
    this.#canvas.addEventListener("pointerup", end);
    this.#canvas.addEventListener("pointercancel", end);
  }

  /** Returns the voxel {row, column} under a point of the canvas (CSS pixels), or null. */
  voxelAt(x, y) {
    const column = Math.floor((this.#inPane(x * this.ratio) - this.left) / this.zoom);
    const row = Math.floor((y * this.ratio - this.top) / (this.zoom * this.aspect));
    const inside = row >= 0 && column >= 0 && row < this.shape[0] && column < this.shape[1];
    return inside ? { row, column } : null;
  }

  /** Returns the level and the cut {y, x, height, width} that the screen shows, or null where `base` does. */
  detail(base) {
    const level = Math.min(base, Math.max(0, Math.floor(Math.log2(1 / this.zoom) + 0.01)));
    if (level >= base) return null;
    const step = 2 ** level;
    const [rows, columns] = this.shape.map((edge) => Math.ceil(edge / step));
    const x = Math.max(0, Math.floor(-this.left / this.zoom / step / 128) * 128);
    const y = Math.max(0, Math.floor(-this.top / (this.zoom * this.aspect) / step / 128) * 128);
    const right = (this.paneWidth - this.left) / this.zoom / step;
    const bottom = (this.#canvas.height - this.top) / (this.zoom * this.aspect) / step;
    const width = Math.min(2048, columns - x, Math.ceil((right - x) / 128) * 128);
    const height = Math.min(2048, rows - y, Math.ceil((bottom - y) / 128) * 128);
    return width > 0 && height > 0 ? { level, cut: { y, x, height, width } } : null;
  }
}
