import assert from 'node:assert/strict'
import { after, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet } from '../src/index.ts'
import { CORPUS, readCorpus } from './corpus.ts'

/** Every 20th case; `npm run conformance -- cedar` runs all. */
const EVERY = 20

after(closeCedar)

it(
  'answers as the official corpus does: decision, reasons, error ids',
  { skip: CORPUS === undefined ? 'no corpus: set SALLYPORT_DATA' : false },
  async () => {
    const cases = readCorpus(CORPUS ?? '').filter((_, i) => i % EVERY === 0)
    let requests = 0
    for (const { name, policy, entities, requests: asked } of cases) {
      const set = await loadPolicySet({ policies: [{ id: 'policy0', source: policy }] })
      const store = EntityStore.from(entities)
      for (const request of asked) {
        const { decision, reasons, errors } = set.decide(request, store)
        const ids = errors.map(({ policyId }) => policyId)
        const { decision: wanted, reason, errors: failing } = request
        assert.deepEqual([decision, reasons, ids], [wanted, reason, failing], name)
        requests++
      }
    }
    assert.ok(requests >= 3000, `only ${requests} requests were read`)
  },
)
