import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { after, test } from 'node:test'
import { closeCedar, loadSchema } from '@sallyport/cedar'
import { deriveSchema, loadDeclaration } from '@sallyport/network'

after(closeCedar)

const networkFile = fileURLToPath(
  new URL('../../../examples/meridian/network.yaml', import.meta.url),
)
const { network } = await loadDeclaration({ networkFile })

test('the types of a derived schema are those of the network', async () => {
  const types = (await loadSchema(deriveSchema(network))).types()
  const action = (id: string) => types.action({ type: 'Action', id })
  for (const { name, operations } of network.systems) {
    for (const { name: operation, kind, input } of operations) {
      const model = action(`${name}.${operation}`)
      assert.deepEqual([model?.principals, model?.resources], [['Instance'], ['System']])
      assert.deepEqual(
        model?.parents.map(({ id }) => id).sort(),
        [`${name}.*`, kind].sort(),
        `${name}.${operation}`,
      )
      const given = model?.context.attributes.get('input')?.type
      assert.ok(given?.kind === 'record' && input.type === 'record')
      assert.deepEqual([...given.attributes.keys()].sort(), Object.keys(input.members).sort())
      for (const [member, { required }] of Object.entries(input.members)) {
        assert.equal(given.attributes.get(member)?.required, required, member)
      }
    }
  }
  const hold = action('core-banking.placeHold')?.context.attributes
  assert.deepEqual(hold?.get('source'), { type: { kind: 'ipaddr' }, required: false })
  assert.deepEqual(hold?.get('evidence')?.type, {
    kind: 'record',
    attributes: new Map<string, unknown>([
      ['approvals', { type: { kind: 'long' }, required: true }],
      ['approvers', { type: { kind: 'set', element: { kind: 'string' } }, required: true }],
    ]),
  })
  assert.deepEqual(action('field.read')?.resources, ['Field'])
  assert.deepEqual(
    [action('call')?.principals, action('read')?.parents.map(({ id }) => id)],
    [[], ['call']],
  )
  assert.deepEqual(types.entityTypes.get('Agent')?.parents.toSorted(), ['Role', 'Segment'])
  assert.deepEqual(types.entityTypes.get('Field')?.attributes.get('tags')?.type, {
    kind: 'set',
    element: { kind: 'string' },
  })
})
