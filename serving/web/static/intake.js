// How pictures come in: dropped, pasted, chosen or taken; very large ones are made smaller before they travel.

import { byId } from "./dom.js";

const SENT_AS_IS = new Set(["image/jpeg", "image/png", "image/webp"]);
const LARGE_BYTES = 3_000_000;
const LARGE_SIDE = 4096;
const SIDE = 2048;

/**
 * Make a file ready to send: as it is if small, else upright, at most 2048 pixels wide and high, as JPEG.
 * What the browser cannot read is sent as it is: the server says what is wrong with it.
 */
export async function prepare(file) {
  const asIs = SENT_AS_IS.has(file.type);
  if (asIs && file.size <= LARGE_BYTES && Math.max(...(await sidesOf(file))) <= LARGE_SIDE) return file;
  let picture;
  try {
    picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    return file;
  }
  const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // JPEG has no transparency; the server lays it on white too
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return (await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9))) ?? file;
}

async function sidesOf(file) {
  const url = URL.createObjectURL(file);
  const probe = new Image();
  try {
    await new Promise((done, fail) => {
      probe.onload = done;
      probe.onerror = fail;
      probe.src = url;
    });
    return [probe.naturalWidth, probe.naturalHeight];
  } catch {
    return [0, 0];
  } finally {
    URL.revokeObjectURL(url);
  }
}

const holdsFiles = (event) => Array.from(event.dataTransfer?.types ?? []).includes("Files");
const firstPicture = (files) => files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;

/** Call `take(file)` for every picture that comes in, by whichever way. */
export function listen(take) {
  for (const [id, act] of [["file", "choose"], ["camera", "camera"]]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      if (input.files.length > 0) take(input.files[0]);
      input.value = ""; // the same file may be chosen again
    });
    for (const button of document.querySelectorAll(`[data-act="${act}"]`)) button.addEventListener("click", () => input.click());
  }

  let depth = 0; // of nested elements that the pointer is over
  const show = (shown) => (byId("drop").hidden = !shown);
  window.addEventListener("dragenter", (event) => {
    if (holdsFiles(event)) show(++depth > 0);
  });
  window.addEventListener("dragleave", (event) => {
    if (holdsFiles(event)) show((depth = Math.max(0, depth - 1)) > 0);
  });
  window.addEventListener("dragover", (event) => {
    if (holdsFiles(event)) event.preventDefault();
  });
  window.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    show((depth = 0) > 0);
    const file = firstPicture(Array.from(event.dataTransfer.files));
    if (file) take(file);
  });

  window.addEventListener("paste", (event) => {
    const files = Array.from(event.clipboardData?.files ?? []);
    if (files.length > 0) {
      event.preventDefault();
      take(firstPicture(files));
    }
  });
}
