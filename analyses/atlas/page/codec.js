// Blocks of numbers as `analyses/atlas/packing.py` writes them: gzip in plain characters, a JSON header, columns of small
// integers.

const NOTHING = -32768;

/** The bytes that a text tells: their count, a colon, and two of 91 characters for each 13 bits. */
function bytesOf(text) {
  const place = new Uint8Array(128);
  let known = 0;
  for (let code = 33; code < 127; code += 1) {
    if (code === 38 || code === 60 || code === 62) continue;
    place[code] = known;
    known += 1;
  }
  const start = text.indexOf(":") + 1;
  const bytes = new Uint8Array(Number.parseInt(text, 10));
  let held = 0;
  let bits = 0;
  let at = 0;
  for (let i = start; i + 1 < text.length; i += 2) {
    held |= (place[text.charCodeAt(i)] * known + place[text.charCodeAt(i + 1)]) << bits;
    for (bits += 13; bits >= 8; bits -= 8) {
      bytes[at] = held & 255;
      at += 1;
      held >>>= 8;
    }
  }
  return bytes;
}

/** What is packed in a script element; the element's text is let go. */
async function inflated(id) {
  const element = document.getElementById(id);
  const packed = bytesOf(element.textContent.trim());
  element.textContent = "";
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** The header and the bytes of the block in a script element. */
async function unpack(id) {
  const raw = await inflated(id);
  const length = new DataView(raw).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(raw, 4, length)));
  return { header, bytes: new Uint8Array(raw, 4 + length) };
}

/** Run the program that is packed in a script element: the page's policy knows it by its hash. */
async function runPacked(id) {
  const program = document.createElement("script");
  program.textContent = new TextDecoder().decode(await inflated(id));
  document.head.append(program);
  program.remove();
}

/** The integers that a reference points to. They are made once for each reference. */
function integers(block, reference) {
  block.arrays ??= new Map();
  if (block.arrays.has(reference)) return block.arrays.get(reference);
  const { at, n, bytes, stride } = reference;
  let values = block.bytes.subarray(at, at + n);
  if (bytes === 2 || stride) {
    const low = values;
    values = new Int16Array(n);
    for (let i = 0; i < n; i += 1) {
      const raw = bytes === 2 ? low[i] | (block.bytes[at + n + i] << 8) : low[i];
      // A difference has its sign as the last bit; sums wrap around in sixteen bits as the differences did.
      values[i] = stride ? ((raw >>> 1) ^ -(raw & 1)) + (i < stride ? 0 : values[i - stride]) : raw;
    }
  }
  block.arrays.set(reference, values);
  return values;
}

/** One number of a column of decimals, or null where there is none. */
function decimal(block, column, place) {
  const whole = integers(block, column)[place];
  return whole === NOTHING || whole === undefined ? null : whole / 10 ** column.decimals / (column.scale ?? 1);
}
