// Compares each dashboard with Grafana's own types, by TypeScript: npm ci && npm run check
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const here = dirname(fileURLToPath(import.meta.url));
const boards = new Map();
for (const name of readdirSync(join(here, 'dashboards'))) {
  const text = readFileSync(join(here, 'dashboards', name), 'utf8');
  JSON.parse(text);
  // All on one line before the text, so that a line of the error is one of the dashboard.
  const head = `import type { Checked } from './types'; export const dashboard: Checked = `;
  boards.set(join(here, `${name}.ts`), { name, text: head + text });
}
if (boards.size === 0) {
  console.error('there is no dashboard to check in dashboards/');
  process.exit(1);
}

const options = {
  strict: true,
  noEmit: true,
  // Its own declarations are Grafana's business.
  skipLibCheck: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  types: [],
};
const host = ts.createCompilerHost(options);
const { fileExists, readFile, getSourceFile } = host;
host.fileExists = (path) => boards.has(path) || fileExists(path);
host.readFile = (path) => boards.get(path)?.text ?? readFile(path);
host.getSourceFile = (path, ...rest) => {
  const board = boards.get(path);
  return board ? ts.createSourceFile(path, board.text, ts.ScriptTarget.ES2022) : getSourceFile(path, ...rest);
};

const program = ts.createProgram([...boards.keys()], options, host);
const found = ts.getPreEmitDiagnostics(program);
for (const diagnostic of found) {
  const path = diagnostic.file?.fileName;
  const file = boards.has(path) ? `dashboards/${boards.get(path).name}` : (path ?? 'TypeScript');
  const line = diagnostic.file ? diagnostic.file.getLineAndCharacterOfPosition(diagnostic.start).line + 1 : 0;
  console.error(`${file}:${line}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')}`);
}
if (found.length > 0) {
  process.exit(1);
}
console.log(`${boards.size} dashboards are what Grafana's types ask for`);
