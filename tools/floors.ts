/** Enforces the floors of ARCHITECTURE.md from the imports themselves, and says how many modules it read. */
import { readFileSync } from 'node:fs'
import { globSync } from 'node:fs'

const FLOOR: Readonly<Record<string, number>> = {
  base: 0,
  cedar: 1,
  spiffe: 1,
  tlog: 1,
  seal: 1,
  redact: 1,
  wire: 2,
  transport: 2,
  network: 3,
  decide: 4,
  segments: 4,
  detect: 4,
  oauth: 4,
  gateway: 5,
  policy: 5,
  control: 5,
  agent: 5,
  console: 6,
  cli: 6,
}

const IMPORT = /(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g
const files = globSync('packages/*/{src,bin}/**/*.{ts,tsx,js,jsx}')
const problems: string[] = []
let imports = 0
const packagesRead = new Set<string>()

for (const file of files) {
  const name = file.split('/')[1] ?? ''
  const floor = FLOOR[name]
  packagesRead.add(name)
  if (floor === undefined) {
    problems.push(
      `${file}: package ${name} has no floor; give it one in tools/floors.ts and ARCHITECTURE.md`,
    )
    continue
  }
  for (const [, specifier = ''] of readFileSync(file, 'utf8').matchAll(IMPORT)) {
    imports++
    if (
      specifier.startsWith('../../') &&
      /^(\.\.\/)+(?:[a-z]+\/src|examples|bench|test)\b/.test(specifier)
    ) {
      problems.push(`${file}: reaches into another package by path: ${specifier}`)
    }
    if (specifier.startsWith('@sallyport/example-') && !file.startsWith('packages/cli/src/demo/')) {
      problems.push(`${file}: only the demo may import an example: ${specifier}`)
    }
    const match = /^@sallyport\/([a-z]+)(\/.*)?$/.exec(specifier)
    if (!match) continue
    const target = FLOOR[match[1] ?? '']
    if (target === undefined) problems.push(`${file}: imports unknown package ${specifier}`)
    else if (match[1] !== name && target >= floor) {
      problems.push(`${file}: floor ${floor} imports ${specifier} on floor ${target}`)
    }
  }
}

const unread = Object.keys(FLOOR).filter((name) => !packagesRead.has(name))
if (unread.length > 0) problems.push(`no module was read of: ${unread.join(', ')}`)
if (files.length < 60 || imports < 200) {
  problems.push(
    `only ${files.length} modules and ${imports} imports were read: the check sees too little`,
  )
}
console.log(`floors: ${files.length} modules, ${imports} imports read, ${problems.length} problems`)
for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0
