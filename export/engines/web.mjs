// Runs one ONNX model in ONNX Runtime Web (WebAssembly): `node web.mjs MODULES FOLDER`, where MODULES is the folder
// that holds node_modules. The job in FOLDER and the answer are those of child.py.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, folder] = process.argv.slice(2);

// float16 and the 64-bit integers do not occur among the outputs asked for.
const KINDS = {
  bool: Uint8Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array, int32: Int32Array,
  float32: Float32Array, float64: Float64Array,
};

function load() {
  try {
    return createRequire(join(modules, "package.json"))("onnxruntime-web");
  } catch (error) {
    return { missing: String(error.message ?? error) };
  }
}

async function answer(ort, job) {
  const [count, ...shape] = job.inputs.shape;
  const bytes = readFileSync(join(folder, "inputs.bin"));
  const Kind = KINDS[job.inputs.dtype];
  const inputs = new Kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const size = inputs.length / count;
  const open = (file) => ort.InferenceSession.create(new Uint8Array(readFileSync(join(folder, file))));
  const run = (session, row) =>
    session.run({ [session.inputNames[0]]: new ort.Tensor(job.inputs.dtype, inputs.slice(row * size, (row + 1) * size), [1, ...shape]) });
  const entries = [];
  const parts = [];
  const add = (name, dtype, dims, data) => {
    entries.push({ name, dtype, shape: [...dims] });
    parts.push(...data.map((values) => Buffer.from(values.buffer, values.byteOffset, values.byteLength)));
  };
  const session = await open(job.model);
  const rows = [];
  for (let row = 0; row < count; row += 1) rows.push((await run(session, row))[session.outputNames[0]]);
  add("logits", rows[0].type, [count, ...rows[0].dims.slice(1)], rows.map((row) => row.data));
  if (job.layers) {
    const found = await run(await open(job.tapped), 0);
    job.tensors.forEach((name, place) => add(`layer/${place}`, found[name].type, found[name].dims, [found[name].data]));
  }
  writeFileSync(join(folder, "reply.bin"), Buffer.concat(parts));
  return { arrays: entries };
}

const ort = load();
let reply;
if (ort.missing !== undefined) {
  reply = { error: ort.missing, unavailable: true };
} else {
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  reply = await answer(ort, JSON.parse(readFileSync(join(folder, "job.json"), "utf8"))).catch((error) => ({
    error: String(error.message ?? error),
  }));
}
writeFileSync(join(folder, "reply.json"), JSON.stringify(reply));
process.exit(0);
