// Writes an archive of the working directory to standard output, with the library that is named.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { downloadZip } from "client-zip";
import { Zip, ZipDeflate, ZipPassThrough, zipSync } from "fflate";
import JSZip from "jszip";
import { configure, Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";

const entries = readdirSync(".", { recursive: true, withFileTypes: true }).map((entry) => {
  const path = join(entry.parentPath ?? entry.path, entry.name);
  return entry.isDirectory()
    ? { name: `${path}/`, mode: statSync(path).mode }
    : { name: path, mode: statSync(path).mode, data: new Uint8Array(readFileSync(path)) };
});

function jszip(options) {
  const zip = new JSZip();
  for (const { name, mode, data } of entries) {
    zip.file(name, data ?? null, { dir: data === undefined, unixPermissions: mode });
  }
  return zip.generateAsync({ type: "uint8array", ...options });
}

function fflateStreamed() {
  const pieces = [];
  const zip = new Zip((error, piece) => {
    if (error) throw error;
    pieces.push(piece);
  });
  for (const { name, data } of entries) {
    const member = data?.length ? new ZipDeflate(name) : new ZipPassThrough(name);
    zip.add(member);
    for (let at = 0; at < (data?.length ?? 0); at += 100_000) {
      member.push(data.subarray(at, at + 100_000), at + 100_000 >= data.length);
    }
    if (!data?.length) member.push(new Uint8Array(), true);
  }
  zip.end();
  return Buffer.concat(pieces);
}

async function zipJs(options, unix = false) {
  configure({ useWebWorkers: false });
  const writer = new ZipWriter(new Uint8ArrayWriter(), options);
  for (const { name, mode, data } of entries) {
    const more = { directory: data === undefined, ...(unix ? { unixMode: mode } : {}) };
    await writer.add(name, data && new Uint8ArrayReader(data), more);
  }
  return writer.close();
}

const libraries = {
  "jszip": () => jszip({ compression: "DEFLATE" }),
  "jszip-stored": () => jszip({}),
  "jszip-streamed": () => jszip({ compression: "DEFLATE", streamFiles: true }),
  "jszip-unix": () => jszip({ compression: "DEFLATE", platform: "UNIX" }),
  "fflate": () => zipSync(Object.fromEntries(entries.map(({ name, data }) => [name, data ?? new Uint8Array()]))),
  "fflate-streamed": fflateStreamed,
  "zip.js": () => zipJs({}),
  "zip.js-zip64": () => zipJs({ zip64: true }),
  "zip.js-no-descriptors": () => zipJs({ dataDescriptor: false }),
  "zip.js-unix": () => zipJs({}, true),
  "client-zip": async () =>
    new Uint8Array(await downloadZip(entries.map(({ name, data }) => ({ name, input: data }))).arrayBuffer()),
};

process.stdout.write(await libraries[process.argv[2]]());
