import { SallyportError } from '@sallyport/base'
import { secretRuleFor } from '@sallyport/network'
import type { Network } from '@sallyport/network'

/** Who asks for a secret. */
export type Reader =
  | { readonly kind: 'agent' | 'service'; readonly name: string; readonly id: string }
  | { readonly kind: 'operator'; readonly name: string }
  | { readonly kind: 'local' }

/** What a secret is for, by the declaration: its own entry, or whatever refers to it. */
export interface Purpose {
  readonly owner: string
  readonly use: string
  readonly maxVersions: number
}

const KEPT = 10

/** What the control plane keeps for itself: nobody reads it, and nothing is written there from outside. */
const isReserved = (path: string): boolean => path === 'sallyport' || path.startsWith('sallyport/')

/** Undefined for a path that nothing is declared for: nobody reads it, and nothing is written there. */
export function purposeOf(network: Network, path: string): Purpose | undefined {
  if (isReserved(path)) return undefined
  const rule = secretRuleFor(network, path)
  if (rule) return { owner: rule.owner, use: rule.use, maxVersions: rule.maxVersions }
  const system = network.systems.find((one) => credentialOf(one) === path)
  if (system) {
    return { owner: system.owner, use: `credential of system ${system.name}`, maxVersions: KEPT }
  }
  const database = (network.databases ?? []).find(({ admin }) => admin.secret === path)
  if (database) {
    const use = `administrator of database ${database.name}`
    return { owner: database.owner, use, maxVersions: KEPT }
  }
  const rotated = (network.secrets ?? []).find(({ rotation }) => rotation?.admin === path)
  return rotated && { owner: rotated.owner, use: `rotates ${rotated.path}`, maxVersions: KEPT }
}

/** Whether gateways send this secret to an upstream. */
export function isCredential(network: Network, name: string): boolean {
  return network.systems.some((system) => credentialOf(system) === name)
}

function credentialOf({ upstream, postgres }: Network['systems'][number]): string | undefined {
  if (postgres) return postgres.secret
  return upstream.kind === 'external' ? upstream.credential?.secret : undefined
}

export function mayRead(network: Network, path: string, reader: Reader): boolean {
  const rule = isReserved(path) ? undefined : secretRuleFor(network, path)
  if (!rule) return false
  switch (reader.kind) {
    case 'agent':
      return rule.agents.includes(reader.name)
    case 'service':
      return rule.services.includes(reader.name)
    case 'operator':
      return rule.operators.includes(reader.name)
    case 'local':
      return rule.local
  }
}

/** How many the declaration lets read it. */
export function readersOf(network: Network, path: string): number {
  const rule = secretRuleFor(network, path)
  if (!rule) return 0
  return rule.agents.length + rule.services.length + rule.operators.length + (rule.local ? 1 : 0)
}

/** How records call a reader. */
export function nameOf(reader: Reader): string {
  return reader.kind === 'local'
    ? 'local-admin'
    : reader.kind === 'operator'
      ? reader.name
      : reader.id
}

/** One answer for what is not there and what is not for the reader. */
export function refused(): SallyportError {
  return new SallyportError('SP_SECRET_REFUSED', 'there is no such secret for this reader', {
    fix: 'have it declared under `secrets` in network.yaml',
  })
}
