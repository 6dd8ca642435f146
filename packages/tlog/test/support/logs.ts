import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const ORIGIN = 'meridian.example/gateway/test'

export interface TestLog {
  readonly dir: string
  readonly signer: KeyObject
  readonly publicKey: KeyObject
  readonly remove: () => Promise<void>
}

export async function testLog(): Promise<TestLog> {
  const dir = await mkdtemp(join(tmpdir(), 'sp-tlog-'))
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return {
    dir,
    signer: privateKey,
    publicKey,
    remove: () => rm(dir, { recursive: true, force: true }),
  }
}

/** A small deterministic random source (mulberry32): a failing trial can be run again by its seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}
