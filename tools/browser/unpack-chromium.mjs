// Unpack the headless Chromium that comes in an npm package (@sparticuz/chromium): a build with
// WebNN, which Debian's has not. Usage: node unpack-chromium.mjs FOLDER

import { createReadStream, createWriteStream, mkdirSync, chmodSync, renameSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { extract } from "tar-fs";

const folder = process.argv[2];
const bin = new URL("node_modules/@sparticuz/chromium/bin/", import.meta.url);
mkdirSync(folder, { recursive: true });
await pipeline(createReadStream(new URL("swiftshader.tar.br", bin)), createBrotliDecompress(),
  extract(folder));
const program = join(folder, "chromium");
await pipeline(createReadStream(new URL("chromium.br", bin)), createBrotliDecompress(),
  createWriteStream(`${program}.part`));
chmodSync(`${program}.part`, 0o755);
renameSync(`${program}.part`, program);
