import { fileURLToPath } from 'node:url'
import { loadDeclaration } from '@sallyport/network'
import type { Network, System } from '@sallyport/network'
import fc from 'fast-check'

export async function meridian(): Promise<Network> {
  const networkFile = fileURLToPath(
    new URL('../../../examples/meridian/network.yaml', import.meta.url),
  )
  return (await loadDeclaration({ networkFile })).network
}

/** Long names too: 63 characters, which no namespace or label can be built from by joining alone. */
const name = fc
  .tuple(fc.constantFrom('a', 'b', 'c-d', 'x'.repeat(60)), fc.nat(99))
  .map(([stem, n]) => `${stem}-${n}`.slice(0, 63))
const names = (minLength: number, maxLength: number): fc.Arbitrary<string[]> =>
  fc.uniqueArray(name, { minLength, maxLength })

/** Networks of any make-up as far as reachability goes: unused systems, idle services, systems outside. */
export const anyNetwork: fc.Arbitrary<Network> = fc
  .record({
    network: name,
    segments: names(1, 4),
    agents: names(0, 5),
    services: names(1, 4),
    systems: names(0, 5),
    picks: fc.infiniteStream(fc.nat(1000)),
  })
  .map(({ network, segments, agents, services, systems, picks }) => {
    const pick = <T>(list: readonly [T, ...T[]] | readonly T[]): T => {
      const chosen = list[Number(picks.next().value) % list.length]
      if (chosen === undefined) throw new RangeError('nothing to pick from')
      return chosen
    }
    const placed = (item: string) => ({
      name: item,
      description: '',
      owner: 'us',
      segment: pick(segments),
    })
    const upstream = (i: number): System['upstream'] => {
      switch (pick([0, 1, 2, 3])) {
        case 0: {
          const url = pick([
            'https://a.example',
            'https://b.example:8443/x',
            'tls://c.example:1414',
          ])
          return { kind: 'external', url, serverName: 'a.example' }
        }
        case 1:
          return {
            kind: 'plain',
            url: pick(['tcp://d.example:1414', 'tcp://[2001:db8::1]:9876']),
            plaintext: 'for tests',
          }
        default:
          return { kind: 'service', service: pick(services), port: 7000 + i }
      }
    }
    const built = systems.map((item, i): System => ({
      ...placed(item),
      criticality: 'low',
      protocol: 'http',
      operations: [],
      upstream: upstream(i),
    }))
    return {
      name: network,
      trustDomain: 'random.example',
      quorum: 1,
      settings: {
        svidTtlSeconds: 60,
        stalenessSeconds: 300,
        strictStalenessSeconds: 30,
        riskTtlSeconds: 60,
        staleRisk: 50,
        approvalTtlSeconds: 900,
      },
      segments: segments.map((item) => ({ name: item, description: '', owner: 'us' })),
      agents: agents.map((item) => ({ ...placed(item), criticality: 'low' as const, roles: [] })),
      operators: [],
      services: services.map(placed),
      systems: built,
      datasets: [],
      flows:
        agents.length === 0 || systems.length === 0
          ? []
          : Array.from({ length: pick([0, 1, 2, 3, 5]) }, (_, i) => ({
              id: `flow-${i}`,
              from: pick(agents),
              to: pick(systems),
              operations: ['x'],
              purpose: 'work',
            })),
      limits: [],
    }
  })
