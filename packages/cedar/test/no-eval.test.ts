import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { it } from 'node:test'

const PROGRAM = `
import { closeCedar, EntityStore, loadPolicySet } from '${new URL('../src/index.ts', import.meta.url).href}'
const schema = 'entity U; action read appliesTo { principal: U, resource: U, context: { n: Long } };'
const source = 'permit(principal, action, resource) when { context.n < 7 && [1, 2].contains(context.n) };'
const set = await loadPolicySet({ policies: [{ id: 'p', source }], schema })
const uid = (type, id) => ({ type, id })
const ask = (n) => ({ principal: uid('U', 'a'), action: uid('Action', 'read'), resource: uid('U', 'b'), context: { n } })
const answers = [1, 3].map((n) => set.decide(ask(n), EntityStore.from([])).decision)
let evaluates = true
try { new Function('return 1') } catch { evaluates = false }
await closeCedar()
console.log(JSON.stringify({ answers, evaluates }))
`

const run = (...flags: string[]): unknown => {
  const args = [...flags, '--input-type=module', '--eval', PROGRAM]
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  assert.notEqual(stdout, '', stderr)
  return JSON.parse(stdout)
}

it('loads and decides where no code may be made from strings', () => {
  const answers = ['allow', 'deny']
  assert.deepEqual(run('--disallow-code-generation-from-strings'), { answers, evaluates: false })
  // Without the flag the same program could: the flag is what is tested.
  assert.deepEqual(run(), { answers, evaluates: true })
})
