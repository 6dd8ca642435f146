import type { Lease, Rotation } from '../../src/api/key-types.ts'
import type { Partner } from '../../src/api/types.ts'

const MINUTE = 60_000
const now = Date.now()

/** One partner that is fresh and one that cannot be reached. */
export const PARTNERS: readonly Partner[] = [
  {
    ...{ trustDomain: 'partner.example', url: 'https://partner.example/bundle', sequence: 17 },
    ...{ profile: 'https_web', fetchedAt: now - 4 * MINUTE, state: 'fresh', maxAgeSeconds: 3600 },
    agents: [
      {
        ...{ name: 'reconciler@partner.example', path: '/agent/reconciler/*', owner: 'payments' },
        ...{ description: 'Reconciles payments', purpose: 'reconciliation', until: '2027-06-30' },
        state: 'active',
      },
      {
        ...{ name: 'pilot@partner.example', path: '/agent/pilot', owner: 'payments' },
        ...{ description: 'A trial', purpose: 'trial', until: '2026-01-31', state: 'ended' },
      },
    ],
  },
  {
    ...{ trustDomain: 'clearing.example', url: 'https://clearing.example/bundle', sequence: 3 },
    ...{ profile: 'https_spiffe', fetchedAt: now - 190 * MINUTE, failure: 'SP_FEDERATION_FETCH' },
    ...{ state: 'stale', maxAgeSeconds: 3600, agents: [] },
  },
]

export const LEASES: readonly Lease[] = [
  {
    ...{ id: 'lse_2', parent: 'lse_1', kind: 'database', resource: 'cases-read' },
    ...{ holder: 'spiffe://meridian.example/agent/case-manager/cas-1', account: 'sp_cas_1' },
    ...{ state: 'active', issuedAt: now - 9 * MINUTE, expiresAt: now + 6 * MINUTE },
    maxExpiresAt: now + 50 * MINUTE,
  },
  {
    ...{ id: 'lse_1', parent: null, kind: 'scope', resource: 'case 4711', account: null },
    holder: 'spiffe://meridian.example/agent/case-manager/cas-1',
    ...{ state: 'active', issuedAt: now - 10 * MINUTE, expiresAt: now + 20 * MINUTE },
    maxExpiresAt: now + 50 * MINUTE,
  },
]

export const ROTATIONS: readonly Rotation[] = [
  {
    ...{ id: 'rot_1', path: 'banking/api-key', step: 'verify', reason: 'overdue', by: 'olivia' },
    ...{ startedAt: now - 3 * MINUTE, graceUntil: null, endedAt: null },
    error: 'the provider answered 503; it is tried again',
  },
]
