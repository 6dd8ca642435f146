/** `node scripts/dev.ts [PORT]`: the built console over the fixture, with traffic, for people who work on it. */
import { Fixture } from '../test/support/api.ts'
import { record } from '../test/support/records.ts'

const fixture = new Fixture()
await fixture.start(Number(process.argv[2] ?? 7600))
const { network } = fixture.world
setInterval(() => {
  const flow = network.flows[Math.floor(Math.random() * network.flows.length)]
  if (!flow) return
  fixture.decide(
    record(network, Date.now(), {
      agent: flow.from,
      system: flow.to,
      operation: flow.operations[0] ?? '',
    }),
  )
}, 400)
console.error(`${fixture.origin}/enrol#first-link`)
