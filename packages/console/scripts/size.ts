/** `node scripts/size.ts [DIST]`: what the first visit loads, gzipped; fails when it is over the budget. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const BUDGET = 190 * 1024

interface Chunk {
  readonly file: string
  readonly isEntry?: boolean
  readonly imports?: readonly string[]
  readonly css?: readonly string[]
}

const dist = process.argv[2] ?? join(import.meta.dirname, '../dist')
// Vite's own manifest, written by the build that is being measured.
const manifest = JSON.parse(readFileSync(join(dist, '.vite/manifest.json'), 'utf8')) as Readonly<
  Record<string, Chunk>
>
const files = new Set(['index.html', 'theme.js', 'icon.svg'])
const visit = (key: string): void => {
  const chunk = manifest[key]
  if (!chunk || files.has(chunk.file)) return
  files.add(chunk.file)
  for (const css of chunk.css ?? []) files.add(css)
  for (const next of chunk.imports ?? []) visit(next)
}
for (const [key, chunk] of Object.entries(manifest)) if (chunk.isEntry === true) visit(key)
if (files.size < 4) throw new Error('the manifest names no entry: nothing was measured')

let total = 0
for (const file of files) {
  const size = gzipSync(readFileSync(join(dist, file)), { level: 9 }).length
  total += size
  console.log(`${(size / 1024).toFixed(1).padStart(7)} KB  ${file}`)
}
console.log(`${(total / 1024).toFixed(1).padStart(7)} KB  first load, of ${BUDGET / 1024} KB`)
if (total > BUDGET) {
  console.error('the first load is over its budget')
  process.exitCode = 1
}
