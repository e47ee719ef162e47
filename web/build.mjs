// Bundles the dashboard: node build.mjs --out DIR [--depfile FILE --target NAME]
//
// Plain files in, plain files out; nothing is fetched. The same sources give the same bytes, so
// names that carry a hash can be cached for ever. Runs on Node 18 and newer.
import { createHash } from 'node:crypto';
import { readFile, readdir, rm, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const TERMINAL_BUDGET_BYTES = 600 * 1024;
const EARLY_BUDGET_BYTES = 100 * 1024;

function option(name, fallback) {
    const at = process.argv.indexOf(`--${name}`);
    return at > 0 ? process.argv[at + 1] : fallback;
}

/*
 * xterm.js writes <style> elements and style="" attributes, which a Content-Security-Policy
 * without 'unsafe-inline' blocks, and it has no option for that. Both have equivalents the policy
 * allows: constructed style sheets, and the CSSOM. They are swapped in here, in the copy that goes
 * into the bundle. The counts are exact, so a new release that does it elsewhere fails the build
 * instead of failing in the browser.
 */
const strictTerminal = {
    name: 'strict-terminal',
    setup(b) {
        b.onLoad({ filter: /@xterm[\\/]xterm[\\/]lib[\\/]xterm\.mjs$/ }, async ({ path: file }) => {
            let text = await readFile(file, 'utf8');
            text = swap(text, /[\w$.]+\.createElement\("style"\)/g, '__styleElement()', 3);
            text = swap(
                text,
                /([\w$]+)\.setAttribute\("style",`\$\{\1\.getAttribute\("style"\)\|\|""\}\$\{([\w$]+)\};`\)/g,
                '$1.style.cssText+=";"+$2',
                1,
            );
            swap(text, /"style"/g, '', 0);
            const shim = path.join(here, 'src', 'console', 'style-element.js');
            return {
                contents: `import { styleElement as __styleElement } from ${JSON.stringify(shim)};\n${text}`,
                loader: 'js',
                watchFiles: [file],
            };
        });
    },
};

function swap(text, pattern, replacement, expected) {
    const found = (text.match(pattern) ?? []).length;
    if (found !== expected) {
        throw new Error(
            `xterm.js has ${found} places that match ${pattern}, ${expected} were ` +
                'expected: check what this release does with inline styles, then adjust build.mjs',
        );
    }
    return text.replace(pattern, replacement);
}

const out = path.resolve(option('out', path.join(here, 'dist')));
await rm(out, { recursive: true, force: true });
await mkdir(path.join(out, 'assets'), { recursive: true });

const result = await build({
    absWorkingDir: here,
    entryPoints: { app: 'src/app.js', style: 'src/style/app.css', logo: 'src/logo.svg' },
    bundle: true,
    splitting: true,
    inject: [path.join(here, 'src/lib/common.js')], /* small files shared by some pages are one, shared by all */
    format: 'esm',
    target: ['chrome109', 'firefox115', 'safari16.4'],
    minify: true,
    charset: 'utf8',
    legalComments: 'none',
    outdir: path.join(out, 'assets'),
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    assetNames: '[name]-[hash]',
    loader: { '.svg': 'copy' },
    metafile: true,
    logLevel: 'warning',
    plugins: [strictTerminal],
});

const made = {};
for (const [file, info] of Object.entries(result.metafile.outputs)) {
    const name = path.basename(file);
    if (info.entryPoint) {
        made[path.basename(info.entryPoint)] = `/assets/${name}`;
    }
    if (info.bytes > TERMINAL_BUDGET_BYTES) {
        throw new Error(`${name} has ${info.bytes} bytes`);
    }
}
// What may be loaded before a console is opened, all pages together, as it is transferred.
let early = 0;
for (const [file, info] of Object.entries(result.metafile.outputs)) {
    const foreign = Object.keys(info.inputs).some((f) => /node_modules\/.*\.m?js$/.test(f));
    if (!foreign) {
        early += gzipSync(await readFile(path.join(here, file)), { level: 9 }).length;
    } else if (info.entryPoint === 'src/app.js') {
        throw new Error(`${file} holds ${Object.keys(info.inputs)}: load it on demand`);
    }
}
if (early > EARLY_BUDGET_BYTES) {
    throw new Error(`the dashboard without consoles has ${early} bytes, compressed`);
}

// "copy" entries carry no entryPoint on every version of esbuild; their input names them.
for (const [file, info] of Object.entries(result.metafile.outputs)) {
    const inputs = Object.keys(info.inputs);
    if (inputs.length === 1 && inputs[0].endsWith('.svg')) {
        made[path.basename(inputs[0])] = `/assets/${path.basename(file)}`;
    }
}

// The notices that the licences of bundled packages ask to be passed on, those of what they bundle
// themselves included.
async function licenceFiles(root) {
    const files = await readdir(root, { recursive: true });
    return files.filter((f) => /^licen[cs]e/i.test(path.basename(f))).sort();
}
const notices = [];
for (const name of Object.keys(
    JSON.parse(await readFile(path.join(here, 'package.json'), 'utf8')).dependencies,
)) {
    const root = path.join(here, 'node_modules', name);
    const files = await licenceFiles(root);
    if (files.length === 0) {
        throw new Error(`${name} comes without a licence`);
    }
    for (const file of files) {
        notices.push(`${name}: ${file}\n\n${await readFile(path.join(root, file), 'utf8')}`);
    }
}
const licences = notices.join('\n\n');
made['licences.txt'] =
    `/assets/licences-${createHash('sha256').update(licences).digest('hex').slice(0, 8)}.txt`;
await writeFile(path.join(out, made['licences.txt']), licences);

let page = await readFile(path.join(here, 'src', 'index.html'), 'utf8');
page = page.replace(/%([\w.-]+)%/g, (_, name) => {
    if (!made[name]) {
        throw new Error(`index.html wants ${name}, which was not built`);
    }
    return made[name];
});
await writeFile(path.join(out, 'index.html'), page);

const depfile = option('depfile');
if (depfile) {
    const inputs = [
        ...Object.keys(result.metafile.inputs).map((f) => path.resolve(here, f)),
        ...['build.mjs', 'embed.py', 'package-lock.json', 'src/index.html'].map((f) =>
            path.join(here, f),
        ),
    ];
    const escaped = [...new Set(inputs)].map((f) => f.replace(/ /g, '\\ '));
    await writeFile(depfile, `${option('target')}: ${escaped.join(' ')}\n`);
}
