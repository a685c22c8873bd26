// Blocks of numbers as `analyses/atlas/packing.py` writes them: gzip, base64, a JSON header, columns of small integers.

const NOTHING = -32768;

/** The header and the bytes of the block in a script element; the element's text is let go. */
async function unpack(id) {
  const element = document.getElementById(id);
  const text = atob(element.textContent.trim());
  const packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const raw = await new Response(stream).arrayBuffer();
  element.textContent = "";
  const length = new DataView(raw).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(raw, 4, length)));
  return { header, bytes: new Uint8Array(raw, 4 + length) };
}

/** The integers that a reference points to. They are made once for each reference. */
function integers(block, reference) {
  block.arrays ??= new Map();
  if (block.arrays.has(reference)) return block.arrays.get(reference);
  const { at, n, bytes, stride } = reference;
  let values;
  if (bytes === 1) {
    values = block.bytes.subarray(at, at + n);
  } else {
    values = new Int16Array(n);
    for (let i = 0; i < n; i += 1) values[i] = block.bytes[at + i] | (block.bytes[at + n + i] << 8);
    // Sums wrap around in sixteen bits as the differences did.
    if (stride) for (let i = stride; i < n; i += 1) values[i] += values[i - stride];
  }
  block.arrays.set(reference, values);
  return values;
}

/** One number of a column of decimals, or null where there is none. */
function decimal(block, column, place) {
  const whole = integers(block, column)[place];
  return whole === NOTHING || whole === undefined ? null : whole / 10 ** column.decimals / (column.scale ?? 1);
}
