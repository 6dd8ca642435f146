/** Every `SP_…` code that the sources can raise has a page that says what happened and how to fix it. */
import { existsSync, globSync, readFileSync } from 'node:fs'

const CODE = /['"`](SP_[A-Z0-9_]+[A-Z0-9])['"`]/g
const codes = new Map<string, string>()
for (const file of globSync(['packages/*/src/**/*.{ts,tsx}', 'examples/*/src/**/*.ts'])) {
  for (const [, code = ''] of readFileSync(file, 'utf8').matchAll(CODE)) codes.set(code, file)
}
// Prefixes that the command line maps to exit codes are not codes themselves.
const prefixes = new Set(
  [...readFileSync('packages/cli/src/exit.ts', 'utf8').matchAll(CODE)].map(([, code = '']) => code),
)
const problems: string[] = []
let pages = 0
for (const [code, file] of codes) {
  if (file.endsWith('cli/src/exit.ts') && prefixes.has(code)) continue
  const page = `docs/errors/${code}.md`
  if (!existsSync(page)) {
    problems.push(`${code} (${file}) has no page ${page}`)
    continue
  }
  pages++
  const text = readFileSync(page, 'utf8')
  for (const heading of [`# ${code}`, '## What happened', '## How to fix it']) {
    if (!text.includes(heading)) problems.push(`${page} lacks \`${heading}\``)
  }
}
for (const file of globSync('docs/errors/SP_*.md')) {
  const code = /(SP_[A-Z0-9_]+)\.md$/.exec(file)?.[1] ?? ''
  if (!codes.has(code)) problems.push(`${file} describes a code that no source raises`)
}
console.log(`error pages: ${codes.size} codes, ${pages} pages, ${problems.length} problems`)
for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 || codes.size < 30 ? 1 : 0
