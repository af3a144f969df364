// Reads an AsyncAPI document with AsyncAPI's own parser and says what is wrong with it.
//
//   node check.mjs ../../schemas/generated/asyncapi.json
//
// Exit code 0: valid. 1: errors, one a line. 2: the file can't be read.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const [path] = process.argv.slice(2);
let text;
try {
  text = await readFile(path, "utf8");
} catch (error) {
  console.error(`can't read ${path}: ${error.message}`);
  process.exit(2);
}

const ERROR = 0;
const WARNING = 1;
const { document, diagnostics } = await new Parser().parse(text);
for (const { severity, code, message, path: where } of diagnostics) {
  if (severity <= WARNING) console.log(`${severity === ERROR ? "error" : "warning"} ${code} at ${where.join(".")}: ${message}`);
}
const valid = document !== undefined && diagnostics.every(({ severity }) => severity !== ERROR);
if (valid) {
  console.log(
    `valid AsyncAPI ${document.version()}: ${document.channels().length} channels, ` +
      `${document.operations().length} operations, ${document.allMessages().length} messages`,
  );
}
process.exit(valid ? 0 : 1);
