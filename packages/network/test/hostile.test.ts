import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { closeCedar } from '@sallyport/cedar'
import { loadDeclaration, NetworkProblems, renderProblem } from '@sallyport/network'
import fc from 'fast-check'
import { API, MINIMAL, parse } from './minimal.ts'

/** Time that others on the machine take does not count. */
function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

after(closeCedar)

const codes = (text: string): string[] => parse(text).problems.map((p) => p.code)

/** Each must be refused for its size or depth, and before it can cost much. */
const bombs: readonly (readonly [string, string])[] = [
  ['a megabyte and a byte', `# ${'x'.repeat(1_048_576)}\n`],
  ['deep flow lists', '['.repeat(500_000)],
  ['deep flow mappings', '{a: '.repeat(200_000)],
  ['deep block lists on one line', '- '.repeat(400_000)],
  ['deep block mappings', Array.from({ length: 900 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
  ['deep explicit keys', '? '.repeat(400_000)],
  ['many nodes', `a: [${'1,'.repeat(300_000)}]`],
  ['many keys', Array.from({ length: 60_000 }, (_, i) => `k${i}: 1`).join('\n')],
]
for (const [what, text] of bombs) {
  test(`refuses ${what} quickly`, () => {
    const started = processorMs()
    assert.deepEqual(codes(text), ['SP_NETWORK_TOO_LARGE'])
    assert.ok(processorMs() - started < 5000, `${processorMs() - started} ms`)
  })
}

test('a billion laughs is refused at the first anchor', () => {
  const lines = ['a: &a [x, x]']
  for (let i = 0; i < 30; i++) lines.push(`b${i}: &b${i} [*a, *a]`)
  assert.deepEqual(codes(lines.join('\n')), ['SP_NETWORK_YAML_FEATURE'])
})

test('text that merely looks like YAML features is accepted in quotes', () => {
  const text = MINIMAL.replace('displayName: Ann', 'displayName: "&Ann *B !c %d"')
  assert.equal(parse(text).network?.operators[0]?.displayName, '&Ann *B !c %d')
})

test('the widest accepted file is still read quickly', () => {
  const agents = Array.from(
    { length: 2000 },
    (_, i) => `  agent-${i}: { owner: us, segment: inner }`,
  ).join('\n')
  const started = processorMs()
  const { network, problems } = parse(MINIMAL.replace('agents:\n', `agents:\n${agents}\n`))
  assert.deepEqual(problems, [])
  assert.equal(network?.agents.length, 2001)
  assert.ok(processorMs() - started < 5000, `${processorMs() - started} ms`)
})

const many = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n')
const floods: readonly (readonly [string, string, string])[] = [
  [
    'flows to nowhere',
    'flows:\n',
    `flows:\n${many(2000, (i) => `  - { from: nobody${i}, to: bank, operations: [pay], purpose: p }`)}\n`,
  ],
  [
    'fields of no class',
    '    fields:\n',
    `    fields:\n${many(9000, (i) => `      f${i}: secrt`)}\n`,
  ],
  ['unknown keys', 'name: small\n', `name: small\n${many(15_000, (i) => `k${i}: 1`)}\n`],
  [
    'agents in unknown segments, of long names',
    'agents:\n',
    `agents:\n${many(4000, (i) => `  ${'a'.repeat(50)}${i}: { owner: us, segment: ${'b'.repeat(50)}${i} }`)}\n`,
  ],
]
for (const [what, from, to] of floods) {
  test(`reports ${what} by the thousand quickly and in bounds`, () => {
    const started = processorMs()
    const { network, problems } = parse(MINIMAL.replace(from, () => to))
    assert.equal(network, undefined)
    assert.ok(problems.length > 100 && problems.length <= 1000, String(problems.length))
    assert.ok(processorMs() - started < 5000, `${processorMs() - started} ms`)
  })
}

test('any damage to a declaration is refused with problems, or changes nothing that is enforced wrongly: never a throw', () => {
  const { network: whole } = parse(MINIMAL)
  assert.ok(whole)
  fc.assert(
    fc.property(
      fc.nat(MINIMAL.length - 1),
      fc.nat(20),
      fc.string({ maxLength: 8, unit: 'binary' }),
      (at, cut, insert) => {
        const { network, problems } = parse(MINIMAL.slice(0, at) + insert + MINIMAL.slice(at + cut))
        assert.equal(network === undefined, problems.length > 0)
        for (const problem of problems) {
          assert.ok(problem.span.line >= 1 && problem.span.column >= 1)
          assert.match(renderProblem(problem), /\[SP_NETWORK_[A-Z_]+\]\n {2}why: .+\n {2}fix: .+/s)
        }
      },
    ),
    { numRuns: 600 },
  )
})

function folder(): { readonly dir: string; readonly networkFile: string } {
  const dir = mkdtempSync(join(tmpdir(), 'sp-network-'))
  after(() => rmSync(dir, { recursive: true, force: true }))
  const home = join(dir, 'home')
  mkdirSync(join(home, 'policies'), { recursive: true })
  writeFileSync(join(home, 'network.yaml'), MINIMAL)
  writeFileSync(join(home, 'bank.yaml'), API)
  writeFileSync(
    join(home, 'policies', 'a.cedar'),
    '@id("all")\npermit (principal, action, resource);',
  )
  writeFileSync(join(dir, 'outside.yaml'), API)
  return { dir, networkFile: join(home, 'network.yaml') }
}

async function problemsOf(networkFile: string): Promise<string[]> {
  try {
    await loadDeclaration({ networkFile })
    return []
  } catch (error) {
    assert.ok(error instanceof NetworkProblems, String(error))
    assert.equal(error.code, 'SP_NETWORK_INVALID')
    return error.problems.map((p) => `${p.code} ${p.span.file}:${p.span.line}`)
  }
}

test('a declaration loads from its folder', async () => {
  const { networkFile } = folder()
  const { network, policies } = await loadDeclaration({ networkFile })
  assert.equal(network.name, 'small')
  assert.deepEqual(
    policies.map(({ id, file, line }) => ({ id, file, line })),
    [{ id: 'all', file: 'policies/a.cedar', line: 1 }],
  )
})

test('nothing outside the folder is read, by path or by link', async () => {
  for (const path of ['../outside.yaml', 'sub/../../outside.yaml', '/etc/hostname']) {
    const { networkFile } = folder()
    writeFileSync(networkFile, MINIMAL.replace('bank.yaml', path))
    assert.deepEqual(await problemsOf(networkFile), ['SP_NETWORK_FILE network.yaml:17'])
  }
  const { dir, networkFile } = folder()
  const inside = join(dir, 'home')
  symlinkSync(join(dir, 'outside.yaml'), join(inside, 'link.yaml'))
  writeFileSync(networkFile, MINIMAL.replace('bank.yaml', 'link.yaml'))
  assert.deepEqual(await problemsOf(networkFile), ['SP_NETWORK_FILE network.yaml:17'])

  // The control: a link that stays inside is followed.
  rmSync(join(inside, 'link.yaml'))
  symlinkSync(join(inside, 'bank.yaml'), join(inside, 'link.yaml'))
  assert.deepEqual(await problemsOf(networkFile), [])
})

test('a linked policy folder, a directory and a missing file are refused', async () => {
  const { dir, networkFile } = folder()
  const inside = join(dir, 'home')
  mkdirSync(join(dir, 'elsewhere'))
  writeFileSync(join(dir, 'elsewhere', 'b.cedar'), 'permit (principal, action, resource);')
  symlinkSync(join(dir, 'elsewhere', 'b.cedar'), join(inside, 'policies', 'b.cedar'))
  assert.deepEqual(await problemsOf(networkFile), ['SP_NETWORK_POLICY policies/b.cedar:1'])
  rmSync(join(inside, 'policies', 'b.cedar'))
  mkdirSync(join(inside, 'policies', 'b.cedar'))
  assert.deepEqual(await problemsOf(networkFile), ['SP_NETWORK_POLICY policies/b.cedar:1'])
  assert.deepEqual(await problemsOf(join(inside, 'nothing.yaml')), [
    'SP_NETWORK_FILE nothing.yaml:1',
  ])
})

test('two policies of one id, and a policy that is no Cedar, are refused at their lines', async () => {
  const { dir, networkFile } = folder()
  writeFileSync(
    join(dir, 'home', 'policies', 'b.cedar'),
    '\n@id("all")\nforbid (principal, action, resource);',
  )
  assert.deepEqual(await problemsOf(networkFile), ['SP_NETWORK_POLICY policies/b.cedar:2'])
  writeFileSync(join(dir, 'home', 'policies', 'b.cedar'), 'permit (principal, action')
  const [problem, ...rest] = await problemsOf(networkFile)
  assert.match(problem ?? '', /^SP_NETWORK_POLICY policies\/b\.cedar:/)
  assert.deepEqual(rest, [])
})
