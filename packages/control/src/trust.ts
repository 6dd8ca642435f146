import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { parseJson, SallyportError } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import type { Barrier, KeyInfo, KeyProvider, Signer, TokenKeys } from '@sallyport/seal'
import { signRoot } from '@sallyport/spiffe'
import { declarationDigest } from '@sallyport/wire'
import type { TrustPins } from '@sallyport/wire'
import { consoleOrigin } from './site/origin.ts'
import type { RelyingParty } from './site/origin.ts'
import { writeDurably } from './authority/keys.ts'
import { makeKeys, openKeys } from './trust/keys.ts'
import type { KeyChoice, MadeKeys, ProvidedKeys } from './trust/keys.ts'
import { readRoots, trustedIn } from './trust/roots.ts'
import type { KeptRoots } from './trust/roots.ts'
import { readKeySettings } from './trust/settings.ts'
import type { KeySettings } from './trust/settings.ts'

/** What the folder `trust` says to whoever holds none of its keys. */
export interface TrustFolder {
  readonly dir: string
  /** As `init` made them: their roots are the first ones. */
  readonly pins: TrustPins
  readonly relyingParty: RelyingParty
  /** Roots that are trusted now. */
  readonly rootsPem: string
  /** Absent while there was no other root than the first. */
  readonly kept: KeptRoots | undefined
  readonly keys: KeySettings
}

export interface Trust extends Omit<TrustFolder, 'keys'> {
  /** Signs bundles. */
  readonly bundle: Signer
  /** Signs checkpoints of the control plane's own log. */
  readonly log: Signer
  /** Every key of the network, for the register. */
  readonly keys: () => Promise<readonly KeyInfo[]>
  /** Until the first operator set is signed; then it is gone. */
  genesisKey(): KeyObject | undefined
  forgetGenesisKey(): void
  /** Keys of roots: `ca` is the first one's. */
  readonly rootKeys: KeyProvider
  readonly provider: (folder: string) => ProvidedKeys
  /** Writes down which roots there are; `rootsPem` says so from then on, and the files that others are given. */
  keepRoots(kept: KeptRoots): void
}

/** Ten years: what gateways pin must outlive them. */
const ROOT_SECONDS = 10 * 365 * 86_400

/**
 * Makes the trust root of a network, in `dataDir/trust`. The only maker of one: everything else refuses to run without.
 *
 * @param input.rpId the WebAuthn relying party id, e.g. `localhost`
 * @param input.origin where the console will answer, e.g. `http://localhost:7400` or `https://console.bank.example`
 * @param input.keys where the keys are to be; in files by default
 * @returns with the shares of the barrier, where people are to hold some: they are shown once
 * @throws SallyportError `SP_TRUST_EXISTS`: a trust root is never overwritten; `SP_CONFIG_CONSOLE_ORIGIN`, `SP_HSM_*`, `SP_KEY_EXISTS`,
 *   `SP_SEAL_SHARES`
 */
export async function initTrust(input: {
  readonly dataDir: string
  readonly declaration: Declaration
  readonly rpId: string
  readonly origin: string
  readonly keys?: KeyChoice
}): Promise<{ trustDomain: string; digest: string; quorum: number; shares: readonly string[] }> {
  const { network } = input.declaration
  const { origin } = consoleOrigin(input.origin)
  const folder = join(input.dataDir, 'trust')
  if (existsSync(folder)) throw exists(folder)
  mkdirSync(input.dataDir, { recursive: true, mode: 0o700 })
  const partial = mkdtempSync(join(input.dataDir, 'trust.partial-'))
  let made: MadeKeys | undefined
  try {
    const choice = input.keys ?? { kind: 'software' }
    made = await makeKeys(partial, network.trustDomain, choice, Date.now())
    const roots = signRoot(made.ca, { trustDomain: network.trustDomain, ttlSeconds: ROOT_SECONDS })
    const genesis = generateKeyPairSync('ed25519')
    const pins: TrustPins = {
      trustDomain: network.trustDomain,
      bundleKey: spki(made.bundle.publicKey),
      genesisKey: spki(genesis.publicKey),
      genesisDigest: declarationDigest(input.declaration),
      roots,
    }
    const relyingParty: RelyingParty = { rpId: input.rpId, origin }
    chmodSync(partial, 0o700)
    const write = (name: string, text: string): void =>
      writeFileSync(join(partial, name), text, { mode: 0o600, flag: 'wx', flush: true })
    write('ca.pem', roots)
    write('keys.json', `${JSON.stringify(made.settings, null, 2)}\n`)
    write('genesis.key', pkcs8(genesis.privateKey))
    write('pins.json', `${JSON.stringify(pins, null, 2)}\n`)
    write('relying-party.json', `${JSON.stringify(relyingParty, null, 2)}\n`)
    try {
      // A folder that is there and not empty stays: of two that run at once, one wins.
      renameSync(partial, folder)
    } catch (cause) {
      if (existsSync(folder)) throw exists(folder, cause)
      throw cause
    }
    syncFolder(input.dataDir)
    const { trustDomain, genesisDigest: digest } = pins
    return { trustDomain, digest, quorum: network.quorum, shares: made.shares }
  } catch (error) {
    await made?.undo()
    throw error
  } finally {
    await made?.close()
    rmSync(partial, { recursive: true, force: true })
  }
}

/**
 * Reads back what needs no key, and never makes a trust root.
 *
 * @throws SallyportError `SP_TRUST_MISSING`, `SP_TRUST_PERMISSIONS`, `SP_TRUST_DAMAGED`
 */
export function readTrust(dataDir: string): TrustFolder {
  const folder = join(dataDir, 'trust')
  if (!existsSync(join(folder, 'pins.json'))) {
    throw new SallyportError('SP_TRUST_MISSING', 'there is no trust root in the data directory', {
      detail: folder,
      fix: 'make one with `sallyport init`, or name the right data directory with --data',
    })
  }
  const read = (name: string): string => readSecret(folder, name)
  const pinned = readPins(read('pins.json'))
  const relyingParty = members(read('relying-party.json'), ['rpId', 'origin'])
  const kept = existsSync(join(folder, ROOTS_FILE))
    ? readRoots(read(ROOTS_FILE), pinned)
    : undefined
  const pins = { ...pinned, roots: kept?.genesis ?? pinned.roots }
  const rootsPem = kept ? trustedIn(kept) : read('ca.pem')
  if (!kept && rootsPem !== pins.roots) {
    throw damaged('the roots are not the ones that pins.json names')
  }
  // The files that others are given follow: a crash may have come between.
  if (kept) giveRoots(folder, pinned, rootsPem)
  return {
    dir: folder,
    pins,
    relyingParty: { rpId: relyingParty['rpId'] ?? '', origin: relyingParty['origin'] ?? '' },
    rootsPem,
    kept,
    keys: readKeySettings(read('keys.json')),
  }
}

/**
 * Opens the keys, with an unsealed barrier.
 *
 * @throws SallyportError `SP_TRUST_DAMAGED`, `SP_KEY_*`, `SP_HSM_*`, `SP_SEAL_*`
 */
export async function openTrust(
  { keys: settings, ...folder }: TrustFolder,
  barrier: Barrier,
  tokens: TokenKeys | undefined,
): Promise<Trust> {
  const { dir, pins } = folder
  const { bundle, log, list, roots, provider } = await openKeys(dir, settings, barrier, tokens)
  if (spki(bundle.publicKey) !== pins.bundleKey) {
    throw damaged('the keys are not the ones that pins.json names')
  }
  const genesisFile = join(dir, 'genesis.key')
  let { rootsPem, kept } = folder
  return {
    ...folder,
    get rootsPem() {
      return rootsPem
    },
    get kept() {
      return kept
    },
    ...{ bundle, log, provider },
    rootKeys: roots,
    keepRoots(next) {
      writeDurably(dir, ROOTS_FILE, `${JSON.stringify(next, null, 2)}\n`)
      kept = next
      rootsPem = trustedIn(next)
      giveRoots(dir, pins, rootsPem)
    },
    keys: list,
    genesisKey: () =>
      existsSync(genesisFile) ? privateKey(readSecret(dir, 'genesis.key')) : undefined,
    forgetGenesisKey() {
      rmSync(genesisFile, { force: true })
      syncFolder(dir)
    },
  }
}

const ROOTS_FILE = 'roots.json'

/** What new gateways and agents are given: they begin with the roots that are trusted now. */
function giveRoots(dir: string, pins: TrustPins, rootsPem: string): void {
  const text = `${JSON.stringify({ ...pins, roots: rootsPem }, null, 2)}\n`
  if (readFileSync(join(dir, 'pins.json'), 'utf8') !== text) writeDurably(dir, 'pins.json', text)
  if (readFileSync(join(dir, 'ca.pem'), 'utf8') !== rootsPem) writeDurably(dir, 'ca.pem', rootsPem)
}

const PIN_NAMES = ['trustDomain', 'bundleKey', 'genesisKey', 'genesisDigest', 'roots'] as const

function readPins(text: string): TrustPins {
  const pins = members(text, PIN_NAMES)
  return {
    trustDomain: pins['trustDomain'] ?? '',
    bundleKey: pins['bundleKey'] ?? '',
    genesisKey: pins['genesisKey'] ?? '',
    genesisDigest: pins['genesisDigest'] ?? '',
    roots: pins['roots'] ?? '',
  }
}

function members(text: string, names: readonly string[]): Readonly<Record<string, string>> {
  const value = parseJson(text)
  const found: Record<string, string> = {}
  if (typeof value !== 'object' || value === null) throw damaged('a file is not an object')
  for (const [name, member] of Object.entries(value)) {
    if (typeof member === 'string') found[name] = member
  }
  for (const name of names) if (!found[name]) throw damaged(`\`${name}\` is missing`)
  return found
}

function readSecret(folder: string, name: string): string {
  const file = join(folder, name)
  let mode: number
  try {
    mode = statSync(file).mode
  } catch (cause) {
    throw damaged(`${name} is missing`, cause)
  }
  if (name.endsWith('.key') && (mode & 0o077) !== 0) {
    throw new SallyportError('SP_TRUST_PERMISSIONS', `others can read \`${name}\``, {
      detail: `mode ${(mode & 0o777).toString(8)}`,
      fix: `find out who did, then \`chmod 600\` it`,
    })
  }
  return readFileSync(file, 'utf8')
}

function privateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch (cause) {
    throw damaged('a key cannot be read', cause)
  }
}

function spki(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).toString('base64url')
}

function pkcs8(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString()
}

/** Makes names in a folder durable. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function exists(folder: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_TRUST_EXISTS', 'there is a trust root already', {
    detail: folder,
    fix: 'use another data directory; a trust root is never overwritten, since every identity hangs on it',
    cause,
  })
}

function damaged(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_TRUST_DAMAGED', 'the trust root is damaged', {
    detail,
    fix: 'restore the folder `trust` from a backup',
    cause,
  })
}
