import assert from 'node:assert/strict'
import type { Declaration, EnforcementPoint } from '@sallyport/network'

/** The declaration with services that are enforcement points. */
export function withPoints(
  points: Readonly<Record<string, EnforcementPoint>>,
): (declaration: Declaration) => Declaration {
  return (declaration) => {
    const { network } = declaration
    const [service] = network.services
    assert.ok(service)
    const services = Object.entries(points).map(([name, enforcementPoint]) => ({
      ...service,
      name,
      enforcementPoint,
    }))
    return { ...declaration, network: { ...network, services: [...network.services, ...services] } }
  }
}
