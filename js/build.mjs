/**
 * Bundles the front end into ../xaiwidgets/static: ES modules and one style sheet.
 *
 * `node build.mjs` builds once and fails when a module is over its budget;
 * `node build.mjs --watch` builds again on every change, with source maps.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

// A module travels with every widget instance, over the wire and in saved notebooks: so there are
// several, each with the panels of some kinds of widgets.
const BUDGET = 60_000;

const MODULES = ["widget", "special", "dream", "compare"];

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "xaiwidgets", "static");
const watch = process.argv.includes("--watch");

// Properties of the front end's own objects, written with few letters in the bundle. None of them
// may be the name of anything in the DOM, in a widget's state or in a message.
const OWN = [
  ...["session", "watch", "subscribe", "element", "stages", "repaint", "decorate", "describe"],
  ...["readout", "coloring", "compact", "centerX", "centerY", "scrub", "above", "below", "extras"],
  ...["usesMap", "usesPhoto", "varying", "axes", "limit"],
];

const options = {
  entryPoints: [...MODULES.map((name) => `${name}.ts`), "widget.css"].map((file) =>
    join(here, "src", file),
  ),
  outdir: out,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !watch,
  mangleProps: watch ? undefined : new RegExp(`^(${OWN.join("|")})$`),
  sourcemap: watch ? "inline" : false,
  legalComments: "none",
  // Pages that carry an AMD loader must not catch libraries that sniff for one.
  define: { "define.amd": "false" },
  logLevel: "warning",
};

if (watch) {
  const context = await esbuild.context({ ...options, logLevel: "info" });
  await context.watch();
} else {
  // What is wrong has been printed by esbuild; a stack trace of this script adds nothing.
  await esbuild.build(options).catch(() => process.exit(1));
  let tooLarge = "";
  for (const name of [...MODULES.map((name) => `${name}.js`), "widget.css"]) {
    const bytes = readFileSync(join(out, name));
    const [size, zipped] = [bytes.length, gzipSync(bytes).length].map((n) => (n / 1000).toFixed(1));
    console.log(`${name.padEnd(10)} ${size.padStart(6)} kB   ${zipped.padStart(6)} kB gzipped`);
    if (name.endsWith(".js") && bytes.length > BUDGET) tooLarge = name;
  }
  if (tooLarge) {
    console.error(`${tooLarge} is over its budget of ${BUDGET / 1000} kB: take something out.`);
    process.exitCode = 1;
  }
}
